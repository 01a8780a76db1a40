"use server";

import { headers } from "next/headers";
import { auth } from "@/lib/auth";
import { env } from "@/lib/env";
import { currentSession } from "@/lib/session";
import type { Outcome } from "@/lib/verdicts";

/** A token by the real key that ended an hour ago. It is good for nothing but to see it refused. */
export async function expiredToken(): Promise<string> {
  const session = await currentSession();
  if (session === null) return "";
  const { baseURL, audience } = env();
  const now = Math.floor(Date.now() / 1000);
  const { token } = await auth().api.signJWT({ body: { payload: { sub: session.user.id, iss: baseURL, aud: audience, iat: now - 7200, exp: now - 3600 } } });
  return token;
}

/**
 * What a page of another site would have a browser send, were the cookie not SameSite=Lax: a POST with the user's cookie. It is sent from here, for
 * no page can say of itself that it is another.
 */
export async function crossSitePost(): Promise<Outcome> {
  const cookie = (await headers()).get("cookie") ?? "";
  try {
    const response = await fetch(new URL("/api/notes", env().apiURL), {
      method: "POST",
      headers: { cookie, origin: "https://evil.example.com" },
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, body: await response.text() };
  } catch {
    return { status: 0, body: "" };
  }
}

/** Has the demo stop extauthz for ten seconds; only for who is signed in. Tells what came of it: somebody else may have done so a moment before. */
export async function stopForAWhile(): Promise<"stopped" | "already" | "signed-out" | "failed"> {
  const { demoControl } = env();
  if (demoControl === undefined) return "failed";
  if ((await currentSession()) === null) return "signed-out";
  const response = await fetch(new URL("/outage", demoControl), { method: "POST", cache: "no-store", signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  if (response?.status === 409) return "already";
  return response?.ok ? "stopped" : "failed";
}
