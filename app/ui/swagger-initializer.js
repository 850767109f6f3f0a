// Send requests to the service that this page comes from: the page may not connect to any other.
const OwnServer = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (update) => (spec) =>
          update({ ...spec, servers: [{ ...spec.servers[0], url: new URL("..", location).href }] }),
      },
    },
  },
});

SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  plugins: [OwnServer],
  validatorUrl: null, // by default, Swagger UI sends the document to a validator on the internet
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0, // collapse the list of schemas: each operation shows its own
});
