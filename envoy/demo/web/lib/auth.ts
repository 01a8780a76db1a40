import { betterAuth } from "better-auth";
import { nextCookies } from "better-auth/next-js";
import { jwt } from "better-auth/plugins";
import pg from "pg";
import { env } from "./env";

function create() {
  const { baseURL, secret, databaseURL, audience, rateLimit } = env();
  const pool = new pg.Pool({ connectionString: databaseURL });
  pool.on("error", (error) => console.error("PostgreSQL:", error.message)); // an idle connection that breaks must not end the process
  return betterAuth({
    baseURL,
    secret,
    database: pool,
    emailAndPassword: { enabled: true },
    trustedOrigins: [baseURL],
    rateLimit: rateLimit ? {} : { enabled: false },
    telemetry: { enabled: false },
    plugins: [
      jwt({ jwt: { issuer: baseURL, audience } }), // these two must be what extauthz is told: BETTER_AUTH_URL and API_AUDIENCE
      nextCookies(), // last, as Better Auth asks
    ],
  });
}

let made: ReturnType<typeof create> | undefined;

/** Better Auth, made when it is first wanted: a build needs no database. */
export function auth() {
  return (made ??= create());
}
