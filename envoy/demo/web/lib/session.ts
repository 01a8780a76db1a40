import { headers } from "next/headers";
import { cache } from "react";
import { auth, migrated } from "./auth";

const timeout = 8_000; // milliseconds; PostgreSQL's own limits are shorter (auth.ts)

/** Who is signed in, by Better Auth; null for nobody. It throws where that cannot be known. One question for each page that is rendered. */
export const currentSession = cache(async () => {
  const sent = await headers();
  const answer = migrated().then(() => auth().api.getSession({ headers: sent }));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("Better Auth did not answer in time")), timeout);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
});
