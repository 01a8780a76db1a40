import { headers } from "next/headers";
import { serverClient } from "extauthz-api-client";

export async function whoAsks(): Promise<string | null> {
  const cookie = (await headers()).get("cookie");
  const api = serverClient({ baseURL: "https://app.example.com", cookie: () => cookie });
  const me = await api.get<{ id: string }>("/api/me");
  return me?.id ?? null;
}
