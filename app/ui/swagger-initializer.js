SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null, // or a validator elsewhere would be asked
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0, // the schemas stand at the operations; their list stays folded
});
