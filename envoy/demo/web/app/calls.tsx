"use client";

import { Suspense, use, useCallback, useEffect, useRef, useState } from "react";
import { api } from "@/lib/api";
import { type CallState, stateOf } from "@/lib/calls";
import { type Header, inWords } from "@/lib/seen";

/** One API, called by the browser and by the server that made the page; `now` is that server's clock, so that both write the same words at first. */
export function Calls({ server, now }: { server: Promise<CallState>; now: number }) {
  const [browser, setBrowser] = useState<CallState>({ is: "loading" });
  const [time, setTime] = useState(now);
  const last = useRef<AbortController>(null);

  const load = useCallback(async () => {
    last.current?.abort();
    const controller = (last.current = new AbortController());
    const state = await stateOf(api.get<Header[]>("/api/headers", { signal: controller.signal }));
    if (controller.signal.aborted) return;
    setTime(Date.now());
    setBrowser(state);
  }, []);

  useEffect(() => {
    const start = setTimeout(() => void load(), 0);
    const stop = api.onSessionChange(() => void load());
    const tick = setInterval(() => setTime(Date.now()), 30_000);
    return () => {
      clearTimeout(start);
      clearInterval(tick);
      stop();
      last.current?.abort();
    };
  }, [load]);

  return (
    <section aria-labelledby="calls">
      <h2 id="calls">Two calls of one API, by you</h2>
      <div aria-live="polite">
        <Status id="browser-call" who="The browser’s call" state={browser} />
        <Suspense fallback={<Status id="server-call" who="The server’s call" state={{ is: "loading" }} />}>
          <ServerStatus server={server} />
        </Suspense>
      </div>
      <Suspense fallback={<Comparison browser={browser} server={{ is: "loading" }} now={time} />}>
        <ComparisonWith browser={browser} server={server} now={time} />
      </Suspense>
      <p className="buttons">
        <button
          type="button"
          onClick={() => {
            setBrowser({ is: "loading" });
            void load();
          }}
        >
          Call again
        </button>
      </p>
    </section>
  );
}

function ServerStatus({ server }: { server: Promise<CallState> }) {
  return <Status id="server-call" who="The server’s call" state={use(server)} />;
}

/** What is not a table: waiting, an outage, a refusal. */
function Status({ id, who, state }: { id: string; who: string; state: CallState }) {
  return (
    <div id={id} data-state={state.is}>
      {state.is === "loading" && <p className="hint">{who} is under way…</p>}
      {state.is === "outage" && <p className="outage">{who} could not be decided: the check is away. You are still signed in; try again in a moment.</p>}
      {state.is === "failed" && (
        <p className="fault">
          {who}: {state.detail}
        </p>
      )}
      {state.is === "signed-out" && (
        <p>
          {who} was refused: you are signed out. <a href="/sign-in">Sign in</a>
        </p>
      )}
    </div>
  );
}

const methods: Record<string, string> = { jwks: "JWT, by a key of the JWKS", hs256: "JWT, by the shared secret", session: "session, by its row in PostgreSQL" };

interface Row {
  name: string;
  title: string;
}

const rows: Row[] = [
  { name: "x-auth-method", title: "by what" },
  { name: "x-user-id", title: "who" },
  { name: "x-user-name", title: "name" },
  { name: "x-user-email", title: "e-mail" },
  { name: "x-auth-issued-at", title: "issued" },
  { name: "x-auth-expires-at", title: "ends" },
];

function ComparisonWith({ browser, server, now }: { browser: CallState; server: Promise<CallState>; now: number }) {
  return <Comparison browser={browser} server={use(server)} now={now} />;
}

/** What the backend got of either call, side by side. */
function Comparison({ browser, server, now }: { browser: CallState; server: CallState; now: number }) {
  const further = [browser, server]
    .flatMap((state) => (state.is === "seen" ? state.seen.headers.map(([name]) => name) : []))
    .filter((name, i, all) => all.indexOf(name) === i && rows.every((row) => row.name !== name))
    .map((name) => ({ name, title: "" }));
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="What the backend got">
      <table id="comparison">
        <caption>What the backend got: headers that extauthz sets and Envoy passes on. It verified nothing itself.</caption>
        <thead>
          <tr>
            <th scope="col">Header</th>
            <th scope="col">Browser, by JWT</th>
            <th scope="col">Server, by session cookie</th>
          </tr>
        </thead>
        <tbody>
          {[...rows, ...further].map(({ name, title }) => (
            <tr key={name}>
              <th scope="row">
                <code>{name}</code> <span className="hint">{title}</span>
              </th>
              <td data-of="browser">{valueOf(browser, name, now)}</td>
              <td data-of="server">{valueOf(server, name, now)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">The check took</th>
            <td data-of="browser">{checkTime(browser)}</td>
            <td data-of="server">{checkTime(server)}</td>
          </tr>
        </tbody>
      </table>
    </div>
  );
}

function valueOf(state: CallState, name: string, now: number): React.ReactNode {
  if (state.is !== "seen") return state.is === "loading" ? "…" : "–";
  const value = state.seen.headers.find(([n]) => n === name)?.[1];
  if (value === undefined) return <span className="hint">not set</span>;
  if (name === "x-auth-method") return methods[value] ?? value;
  if (name.endsWith("-at") && /^\d+$/.test(value)) {
    const date = new Date(Number(value) * 1000);
    return (
      <time dateTime={date.toISOString()} title={`${date.toISOString().slice(0, 19).replace("T", " ")} UTC`}>
        {inWords(date.getTime(), now)}
      </time>
    );
  }
  return value;
}

function checkTime(state: CallState): string {
  if (state.is !== "seen") return state.is === "loading" ? "…" : "–";
  const { checkMilliseconds: time } = state.seen;
  return time === undefined ? "not said" : time < 1 ? "less than 1 ms" : `${time} ms`;
}
