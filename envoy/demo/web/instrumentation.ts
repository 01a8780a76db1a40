/** Runs once, before the server takes requests: a mistake in the environment ends it. A database that is away does not. */
export async function register() {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { env } = await import("./lib/env");
  env();
  const { migrated } = await import("./lib/auth");
  await migrated().catch(() => {}); // it was logged, and is tried again
}
