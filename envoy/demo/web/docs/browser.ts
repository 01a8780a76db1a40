import { createAuthClient } from "better-auth/react";
import { ApiError, browserClient } from "extauthz-api-client";

const api = browserClient();

// A sign-in or a sign-out by this client makes the other forget its token.
export const authClient = createAuthClient({ plugins: [api.authPlugin] });

export async function whoAmI(): Promise<string | null> {
  try {
    const me = await api.get<{ id: string }>("/api/me");
    return me?.id ?? null;
  } catch (error) {
    if (error instanceof ApiError && error.isSignedOut) return null; // an outage (isOutage) is no sign-out
    throw error;
  }
}
