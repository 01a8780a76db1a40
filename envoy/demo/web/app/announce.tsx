"use client";

import { useEffect } from "react";
import { sessionChannel } from "./browser-call";

/** Where nobody is signed in: tells the other tabs. */
export function AnnounceSignedOut() {
  useEffect(() => {
    const channel = new BroadcastChannel(sessionChannel);
    channel.postMessage("signed-out");
    channel.close();
  }, []);
  return null;
}
