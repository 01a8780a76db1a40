import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { jwt } from "better-auth/plugins";
import pg from "pg";
import { env } from "./env";

function create() {
  const { baseURL, secret, databaseURL, audience, signUpLimit } = env();
  const pool = new pg.Pool({
    connectionString: databaseURL,
    max: 10,
    idleTimeoutMillis: 30_000,
    connectionTimeoutMillis: 3_000, // somebody waits: a database that is away is told within seconds
    statement_timeout: 5_000,
    query_timeout: 5_000, // where the connection itself has died
    keepAlive: true,
  });
  pool.on("error", (error) => console.error("PostgreSQL:", error.message)); // an idle connection that breaks must not end the process
  return betterAuth({
    baseURL,
    secret,
    database: pool,
    emailAndPassword: { enabled: true },
    trustedOrigins: [baseURL],
    // Better Auth's own: three sign-ins in ten seconds for an address. In the demo everybody signs up from one.
    rateLimit: { enabled: true, ...(signUpLimit ? {} : { customRules: { "/sign-up/email": false as const } }) },
    telemetry: { enabled: false },
    plugins: [
      jwt({ jwt: { issuer: baseURL, audience } }), // these two must be what extauthz is told: BETTER_AUTH_URL and API_AUDIENCE
    ],
  });
}

let made: ReturnType<typeof create> | undefined;

/** Better Auth, made when it is first wanted: a build needs no database. */
export function auth() {
  return (made ??= create());
}

/** The database is away, or its tables could not be made. Nobody is signed out by that. */
export class DatabaseAway extends Error {
  override readonly name = "DatabaseAway";
}

const pause = 1_000; // milliseconds between two tries
let migration: Promise<void> | undefined;
let nextTry = 0;

/**
 * Kept once the tables are there. A database that is away when the server starts is tried again with the requests that want it, once a second at most.
 */
export function migrated(): Promise<void> {
  if (migration === undefined && Date.now() < nextTry) return Promise.reject(new DatabaseAway("The database is away"));
  migration ??= (async () => {
    try {
      const { runMigrations } = await getMigrations(auth().options);
      await runMigrations();
    } catch (error) {
      console.error("PostgreSQL:", error instanceof Error ? error.message : error);
      nextTry = Date.now() + pause;
      migration = undefined;
      throw new DatabaseAway("The database is away", { cause: error });
    }
  })();
  return migration;
}
