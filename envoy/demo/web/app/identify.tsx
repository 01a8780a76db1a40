"use client";

import { useRouter } from "next/navigation";
import { useEffect, useLayoutEffect } from "react";
import type { PageSession } from "extauthz-api-client";
import { api } from "@/lib/api";

/** Tells the API's client whose page it is, before anything on the page calls it; loads the page again when another tab changes that. */
export function Identify({ session }: { session: PageSession | null }) {
  const router = useRouter();
  const id = session?.id;
  const userId = session?.userId;
  useLayoutEffect(() => api.identify(id === undefined || userId === undefined ? null : { id, userId }), [id, userId]);
  useEffect(() => api.onSessionChange(() => router.refresh()), [router]);
  return null;
}
