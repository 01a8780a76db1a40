"use client";

import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "extauthz-api-client";
import { api } from "@/lib/api";
import { type Header, type Seen, seenOf } from "@/lib/seen";
import { SeenCard } from "./seen-card";

type State = { is: "loading" } | { is: "seen"; seen: Seen } | { is: "signed-out" } | { is: "outage" } | { is: "failed"; detail: string };

/** The call from the browser, by a JWT. */
export function BrowserCall() {
  const [state, setState] = useState<State>({ is: "loading" });
  const last = useRef<AbortController>(null);

  const load = useCallback(async () => {
    last.current?.abort();
    const controller = (last.current = new AbortController());
    try {
      setState({ is: "seen", seen: seenOf((await api.get<Header[]>("/api/headers", { signal: controller.signal })) ?? []) });
    } catch (error) {
      if (controller.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      setState(error.isSignedOut ? { is: "signed-out" } : error.isOutage ? { is: "outage" } : { is: "failed", detail: error.detail });
    }
  }, []);

  useEffect(() => {
    const start = setTimeout(() => void load(), 0);
    const stop = api.onSessionChange(() => void load());
    return () => {
      clearTimeout(start);
      stop();
      last.current?.abort();
    };
  }, [load]);

  const again = (
    <button
      type="button"
      onClick={() => {
        setState({ is: "loading" });
        void load();
      }}
    >
      Call again
    </button>
  );
  return (
    <section aria-labelledby="browser" aria-busy={state.is === "loading"} data-state={state.is} id="browser-call">
      <h2 id="browser">From the browser, by JWT</h2>
      <div aria-live="polite">
        {state.is === "loading" && <p>Calling…</p>}
        {state.is === "seen" && <SeenCard seen={state.seen} caption="Identity headers of the browser’s call" />}
        {state.is === "signed-out" && (
          <p>
            You are signed out. {/* Not a client-side link: the page is made anew. */}
            <a href="/sign-in">Sign in</a>
          </p>
        )}
        {state.is === "outage" && <p className="outage">The check cannot be asked just now. You are still signed in; try again in a moment.</p>}
        {state.is === "failed" && <p className="fault">{state.detail}</p>}
      </div>
      {state.is !== "loading" && again}
    </section>
  );
}
