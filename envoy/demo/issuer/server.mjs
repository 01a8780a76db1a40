// The issuer of the demo and of the end-to-end tests: Better Auth on Node's own HTTP server, with
// PostgreSQL, as a project would set it up. Its settings come from the environment and have no defaults.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { nextCookies } from "better-auth/next-js";
import { toNodeHandler } from "better-auth/node";
import { admin, bearer, jwt, organization } from "better-auth/plugins";
import pg from "pg";

function setting(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set`);
    process.exit(2);
  }
  return value;
}

const address = setting("ISSUER_ADDRESS");
const port = Number(setting("ISSUER_PORT"));
const baseURL = setting("BETTER_AUTH_URL");

// Plugins of Better Auth's beside those of the demo, by name, for the tests of what they add.
const further = { admin, organization };
const plugins = (process.env.BETTER_AUTH_PLUGINS || "").split(",").filter(Boolean).map((name) => further[name]());

const pool = new pg.Pool({ connectionString: setting("DATABASE_URL") });
pool.on("error", (error) => console.error("PostgreSQL:", error.message)); // an idle connection that breaks must not end the process

const auth = betterAuth({
  baseURL,
  secret: setting("BETTER_AUTH_SECRET"),
  database: pool,
  emailAndPassword: { enabled: true },
  trustedOrigins: setting("TRUSTED_ORIGINS").split(","),
  telemetry: { enabled: false },
  plugins: [
    jwt({
      jwks: { keyPairConfig: { alg: process.env.JWT_ALGORITHM || "EdDSA" } },
      jwt: { issuer: baseURL, audience: setting("API_AUDIENCE") },
    }),
    bearer(),
    ...plugins,
    nextCookies(), // last, as Better Auth asks
  ],
});

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const server = createServer(toNodeHandler(auth));
server.listen(port, address, () => console.log(`Better Auth listens on ${address}:${port}`));

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    server.close(() => pool.end().then(() => process.exit(0)));
    server.closeAllConnections();
  });
}
