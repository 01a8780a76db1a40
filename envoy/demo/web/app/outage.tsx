"use client";

import { useEffect, useRef, useState } from "react";
import { api } from "@/lib/api";
import { type During, outageOf, type Verdict } from "@/lib/verdicts";
import { stopForAWhile } from "./actions";

const giveUp = 30_000; // milliseconds after which it should have been back for long

/** Stops the real extauthz for ten seconds, and calls the API each second meanwhile, as the browser's calls do. */
export function Outage() {
  const [statuses, setStatuses] = useState<number[]>([]);
  const [verdict, setVerdict] = useState<Verdict>();
  const [state, setState] = useState<"idle" | "under-way" | "over" | "failed">("idle");
  const stopped = useRef(false);
  useEffect(() => {
    stopped.current = false; // React runs an effect twice while developing
    return () => {
      stopped.current = true;
    };
  }, []);

  async function start() {
    if (state === "under-way") return;
    setStatuses([]);
    setState("under-way");
    try {
      const token = await api.token(); // before the outage: it stays good
      const began = performance.now();
      const answers: During[] = [];
      if (!(await stopForAWhile())) return setState("failed");
      while (!stopped.current && performance.now() - began < giveUp) {
        const status = await fetch("/api/me", { headers: { authorization: `Bearer ${token}` }, credentials: "omit", signal: AbortSignal.timeout(5_000) }).then(
          (response) => response.status,
          () => 0,
        );
        setStatuses((before) => [...before, status]);
        answers.push({ status, after: performance.now() - began });
        const found = outageOf(answers);
        if (found !== undefined) {
          setVerdict(found);
          return setState("over");
        }
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
        {state === "over" && verdict !== undefined && <p className={`verdict ${verdict.is}`}>{verdict.text}</p>}
        {state === "failed" && <p className="fault">That did not go as it should: the demo could not stop extauthz, or it did not come back.</p>}
      </div>
    </section>
  );
}
