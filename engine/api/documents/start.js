"use strict";

SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // An API key stays in the memory of the page and goes nowhere but to this server.
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
