SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null, // by default, Swagger UI sends the document to a validator on the internet
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0, // collapse the list of schemas: each operation shows its own
});
