import { ApiError, browserClient } from "extauthz-api-client";

const api = browserClient();

export async function whoAmI(): Promise<string | null> {
  try {
    return (await api.get<{ id: string }>("/api/me")).id;
  } catch (error) {
    if (error instanceof ApiError && error.isSignedOut) return null; // an outage (isOutage) is no sign-out
    throw error;
  }
}
