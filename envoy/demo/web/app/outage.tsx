"use client";

import { ApiError } from "extauthz-api-client";
import { useEffect, useRef, useState } from "react";
import { api } from "@/lib/api";
import { type During, outageOf, type Verdict } from "@/lib/verdicts";
import { stopForAWhile } from "./actions";

const giveUp = 30_000; // milliseconds after which it should have been back for long

const signedOut = "You are signed out, so nothing was stopped. Sign in again.";
const unasked = "Nothing was stopped: Better Auth cannot be asked just now. Try again in a moment.";
const unable = "The demo could not stop extauthz.";
const away = "extauthz was stopped, and has not come back after half a minute.";

/** Stops the real extauthz for ten seconds, and calls the API each second meanwhile, as the browser's calls do. */
export function Outage() {
  const [statuses, setStatuses] = useState<number[]>([]);
  const [verdict, setVerdict] = useState<Verdict>();
  const [state, setState] = useState<"idle" | "under-way" | "others" | "others-over" | "over" | "failed">("idle");
  const [fault, setFault] = useState("");
  const busy = state === "under-way" || state === "others";
  const stopped = useRef(false);
  useEffect(() => {
    stopped.current = false; // React runs an effect twice while developing
    return () => {
      stopped.current = true;
    };
  }, []);

  function fail(text: string) {
    setFault(text);
    setState("failed");
  }

  /** Calls the API each second, until what came is enough; tells whether it was in time. */
  async function callUntil(token: string, enough: (answers: During[]) => boolean): Promise<boolean> {
    const began = performance.now();
    const answers: During[] = [];
    while (!stopped.current && performance.now() - began < giveUp) {
      const status = await fetch("/api/me", { headers: { authorization: `Bearer ${token}` }, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(5_000) }).then(
        (response) => response.status,
        () => 0,
      );
      setStatuses((before) => [...before, status]);
      answers.push({ status, after: performance.now() - began });
      if (enough(answers)) return true;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
    return false;
  }

  async function start() {
    if (busy) return;
    setStatuses([]);
    setState("under-way");
    try {
      const token = await api.token(); // before the outage: it stays good
      const came = await stopForAWhile();
      if (came === "signed-out") return fail(signedOut);
      if (came === "failed") return fail(unable);
      if (came === "already") {
        setState("others"); // whose outage is under way for how long is not known here, so that no verdict is made of it
        if (await callUntil(token, (answers) => answers.at(-1)?.status === 200)) return setState("others-over");
        return fail(away);
      }
      const judged = (answers: During[]) => {
        const found = outageOf(answers);
        setVerdict(found);
        return found !== undefined;
      };
      if (await callUntil(token, judged)) return setState("over");
      fail(away);
    } catch (error) {
      fail(error instanceof ApiError && error.isSignedOut ? signedOut : unasked);
    }
  }

  return (
    <section aria-labelledby="outage" className="card" id="outage-switch" data-state={state}>
      <h2 id="outage">Stop it</h2>
      <p>
        <button type="button" className="danger" aria-disabled={busy} onClick={() => void start()}>
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
        {state === "others" && <p className="outage">Somebody else has stopped extauthz already: it is back within ten seconds. Meanwhile each call of yours gets 503, too.</p>}
        {state === "others-over" && <p>Somebody else had stopped extauthz. It is back, and you are still signed in: now you can stop it.</p>}
        {state === "over" && verdict !== undefined && <p className={`verdict ${verdict.is}`}>{verdict.text}</p>}
        {state === "failed" && <p className="fault">{fault}</p>}
      </div>
    </section>
  );
}
