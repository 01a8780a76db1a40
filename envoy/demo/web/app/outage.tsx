"use client";

import { useEffect, useRef, useState } from "react";
import { api } from "@/lib/api";
import { stopForAWhile } from "./actions";

const giveUp = 30_000; // milliseconds after which it should have been back for long

/** Stops the real extauthz for ten seconds, and calls the API each second meanwhile, as the browser's calls do. */
export function Outage() {
  const [statuses, setStatuses] = useState<number[]>([]);
  const [state, setState] = useState<"idle" | "under-way" | "over" | "failed">("idle");
  const stopped = useRef(false);
  useEffect(
    () => () => {
      stopped.current = true;
    },
    [],
  );

  async function start() {
    if (state === "under-way") return;
    setStatuses([]);
    setState("under-way");
    const began = performance.now();
    try {
      const token = await api.token(); // before the outage: it stays good
      if (!(await stopForAWhile())) return setState("failed");
      for (let outage = false; !stopped.current && performance.now() - began < giveUp; ) {
        const status = await fetch("/api/me", { headers: { authorization: `Bearer ${token}` }, credentials: "omit", signal: AbortSignal.timeout(5_000) }).then(
          (response) => response.status,
          () => 0,
        );
        setStatuses((before) => [...before, status]);
        outage ||= status === 503;
        if (outage && status === 200) return setState("over");
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
      setState("failed");
    } catch {
      setState("failed");
    }
  }

  return (
    <section aria-labelledby="outage" className="card" id="outage-switch" data-state={state}>
      <h2 id="outage">Stop it</h2>
      <p>
        <button type="button" className="danger" aria-disabled={state === "under-way"} onClick={() => void start()}>
          Stop extauthz for ten seconds
        </button>
      </p>
      <div aria-live="polite">
        {state === "idle" && <p className="hint">Nobody passes meanwhile, and nobody is signed out: that is what an outage must be.</p>}
        {state !== "idle" && statuses.length > 0 && (
          <p className="statuses">
            {statuses.map((status, i) => (
              <span key={i} className={status === 200 ? "held" : "open"}>
                {status}
              </span>
            ))}
          </p>
        )}
        {state === "under-way" && <p className="outage">extauthz is stopped. Each second a call of yours: 503 says “try again”, and not “sign in again”.</p>}
        {state === "over" && <p className="verdict held">It is back, and you are still signed in. Nobody passed meanwhile.</p>}
        {state === "failed" && <p className="fault">That did not go as it should: the demo could not stop extauthz, or it did not come back.</p>}
      </div>
    </section>
  );
}
