// A certified OpenID provider (oidc-provider), for tests. Its keys and port come as one line of JSON on
// standard input, so that a test can start it again with other keys; it ends when that input ends.
import { createInterface } from "node:readline";

import Provider from "oidc-provider";

const RESOURCES = {
  "https://hub.test": { audience: "stella-integrations", alg: "RS256" },
  "https://hub.test/es256": { audience: "stella-integrations", alg: "ES256" },
  "https://billing.test": { audience: "billing", alg: "RS256" },
};
const SCOPES = "integrations:read integrations:write integrations:operate integrations:admin";

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => {
  const { port, keys } = JSON.parse(line);
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    jwks: { keys },
    clients: [
      {
        client_id: "scanner",
        client_secret: "secret-of-the-tests",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          audience: RESOURCES[resource].audience,
          scope: SCOPES,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: RESOURCES[resource].alg } },
        }),
      },
    },
    extraTokenClaims: () => ({ tenant: "acme" }),
  });
  provider.listen(port, "127.0.0.1", () => console.log("listening"));
});
lines.once("close", () => process.exit(0));
