/** Runs once, before the server takes requests: a mistake in the environment ends it, and the tables are there. */
export async function register() {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { env } = await import("./lib/env");
  env();
  const { auth } = await import("./lib/auth");
  const { getMigrations } = await import("better-auth/db/migration");
  const { runMigrations } = await getMigrations(auth().options);
  await runMigrations();
}
