import { headers } from "next/headers";
import { cache } from "react";
import { auth } from "./auth";

/** Who is signed in, by Better Auth; null for nobody. One question for each page that is rendered. */
export const currentSession = cache(async () => auth().api.getSession({ headers: await headers() }));
