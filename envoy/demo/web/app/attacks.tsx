"use client";

import { useState } from "react";
import { authClient } from "@/lib/auth-client";
import { type Outcome, crossSitePost, expiredToken } from "./actions";

async function freshToken(): Promise<string> {
  const { data } = await authClient.token();
  return data?.token ?? "";
}

async function call(headers: Record<string, string>, path = "/api/me"): Promise<Outcome> {
  const response = await fetch(path, { headers, credentials: "omit" });
  return { status: response.status, body: await response.text() };
}

const attacks = [
  {
    id: "forged",
    label: "Forge a token",
    explain: "The token says what it said before, but its signature is made up. It does not fit the issuer’s key, so nobody passes: 401.",
    run: async () => {
      const token = await freshToken();
      return call({ authorization: `Bearer ${token.slice(0, token.lastIndexOf(".") + 1)}${"A".repeat(86)}` });
    },
  },
  {
    id: "spoofed",
    label: "Say that you are admin",
    explain: "The request is yours and brings x-user-id: admin of its own. Envoy replaces it by who you are before the backend sees it.",
    run: async () => {
      const outcome = await call({ authorization: `Bearer ${await freshToken()}`, "x-user-id": "admin" }, "/api/headers");
      const seen = outcome.status === 200 ? (JSON.parse(outcome.body) as [string, string][]).filter(([name]) => name === "x-user-id") : [];
      return { status: outcome.status, body: seen.length > 0 ? JSON.stringify(seen) : outcome.body };
    },
  },
  {
    id: "expired",
    label: "Use an expired token",
    explain: "The signature is right, and the token ended an hour ago: 401, and the client knows to fetch another.",
    run: async () => call({ authorization: `Bearer ${await expiredToken()}` }),
  },
  {
    id: "cross-site",
    label: "Post from another site",
    explain: "A POST with your cookie that another site had your browser send. Cookies are sent unasked, so the site that asks must be the same: 403.",
    run: crossSitePost,
  },
];

/** Buttons that try what must not work, and show what came. */
export function Attacks() {
  const [shown, setShown] = useState<{ id: string; outcome?: Outcome }>();
  const attack = attacks.find(({ id }) => id === shown?.id);
  return (
    <section aria-labelledby="attacks">
      <h2 id="attacks">Try what must not work</h2>
      <p className="buttons">
        {attacks.map(({ id, label, run }) => (
          <button
            key={id}
            type="button"
            id={id}
            onClick={() => {
              setShown({ id });
              run().then(
                (outcome) => setShown({ id, outcome }),
                () => setShown({ id, outcome: { status: 0, body: "No answer came" } }),
              );
            }}
          >
            {label}
          </button>
        ))}
      </p>
      <div aria-live="polite" id="outcome" data-of={shown?.outcome === undefined ? undefined : shown.id}>
        {shown === undefined && <p className="hint">Nothing tried yet.</p>}
        {shown !== undefined && shown.outcome === undefined && <p>Trying…</p>}
        {shown?.outcome !== undefined && attack !== undefined && (
          <>
            <p>
              <strong>{shown.outcome.status}</strong> <code>{shown.outcome.body}</code>
            </p>
            <p>{attack.explain}</p>
          </>
        )}
      </div>
    </section>
  );
}
