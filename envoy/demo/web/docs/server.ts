import { headers } from "next/headers";
import { serverClient } from "extauthz-api-client";

export async function whoAsks(): Promise<string> {
  const cookie = (await headers()).get("cookie");
  const api = serverClient({ baseURL: "https://app.example.com", cookie: () => cookie });
  return (await api.get<{ id: string }>("/api/me")).id;
}
