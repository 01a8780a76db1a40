"use client";

import { useState } from "react";
import { api } from "@/lib/api";
import { type Outcome, refusal, staysOneself, type Verdict } from "@/lib/verdicts";
import { crossSitePost, expiredToken } from "./actions";

async function call(headers: Record<string, string>, path = "/api/me"): Promise<Outcome> {
  const response = await fetch(path, { headers, credentials: "omit", signal: AbortSignal.timeout(10_000) });
  return { status: response.status, body: await response.text() };
}

interface Attack {
  id: string;
  label: string;
  explain: string;
  run: () => Promise<Outcome>;
  verdict: (outcome: Outcome) => Verdict;
}

const attacksOf = (user: { id: string; name: string }): Attack[] => [
  {
    id: "spoofed",
    label: "Say that you are admin",
    explain: "The request brought x-user-id: admin of its own. extauthz has Envoy replace it by who you are before the backend sees it.",
    run: async () => call({ authorization: `Bearer ${await api.token()}`, "x-user-id": "admin" }, "/api/headers"),
    verdict: staysOneself(user.id, user.name),
  },
  {
    id: "forged",
    label: "Forge a token",
    explain: "The token says what yours said, but its signature is made up. It does not fit the issuer’s key.",
    run: async () => {
      const token = await api.token();
      return call({ authorization: `Bearer ${token.slice(0, token.lastIndexOf(".") + 1)}${"A".repeat(86)}` });
    },
    verdict: refusal(401),
  },
  {
    id: "expired",
    label: "Use an expired token",
    explain: "The signature is right, and the token ended an hour ago. The client knows by this answer to fetch another.",
    run: async () => {
      const token = await expiredToken();
      return token === "" ? { status: 0, body: "" } : call({ authorization: `Bearer ${token}` }); // nobody is signed in any more: a 401 would show nothing
    },
    verdict: refusal(401),
  },
  {
    id: "cross-site",
    label: "Post from another site",
    explain: "A POST with your cookie that another site had your browser send. Cookies are sent unasked, so the site that asks must be the API’s own.",
    run: crossSitePost,
    verdict: refusal(403),
  },
];

/** Buttons that try what must not work. The verdict is made from the answer that came. */
export function Attacks({ user }: { user: { id: string; name: string } }) {
  const [shown, setShown] = useState<{ id: string; outcome?: Outcome }>();
  const came = (id: string, outcome: Outcome) => setShown((now) => (now?.id === id ? { id, outcome } : now)); // a late one does not replace another's
  const attacks = attacksOf(user);
  const attack = attacks.find(({ id }) => id === shown?.id);
  const verdict = attack !== undefined && shown?.outcome !== undefined ? attack.verdict(shown.outcome) : undefined;
  return (
    <section aria-labelledby="attacks" className="card">
      <h2 id="attacks">Attack it</h2>
      <p className="buttons">
        {attacks.map(({ id, label, run }) => (
          <button
            key={id}
            type="button"
            id={id}
            onClick={() => {
              setShown({ id });
              run().then(
                (outcome) => came(id, outcome),
                () => came(id, { status: 0, body: "" }),
              );
            }}
          >
            {label}
          </button>
        ))}
      </p>
      <div aria-live="polite" id="outcome" data-of={verdict === undefined ? undefined : shown?.id} data-verdict={verdict?.is}>
        {shown === undefined && <p className="hint">Each button sends a real request, and shows what came.</p>}
        {shown !== undefined && shown.outcome === undefined && <p>Trying…</p>}
        {shown?.outcome !== undefined && verdict !== undefined && attack !== undefined && (
          <>
            <p className={`verdict ${verdict.is}`}>{verdict.text}</p>
            <p>
              <strong>{shown.outcome.status}</strong> <code>{excerpt(attack.id, shown.outcome)}</code>
            </p>
            <p>{attack.explain}</p>
          </>
        )}
      </div>
    </section>
  );
}

/** The part of an answer that matters: of the list of all headers the one that was spoofed. */
function excerpt(id: string, { status, body }: Outcome): string {
  if (id !== "spoofed" || status !== 200) return body;
  return JSON.stringify((JSON.parse(body) as [string, string][]).filter(([name]) => name === "x-user-id"));
}
