import { headers } from "next/headers";
import Link from "next/link";
import { ApiError, serverClient } from "extauthz-api-client";
import { env } from "@/lib/env";
import { type Header, seenOf } from "@/lib/seen";
import { currentSession } from "@/lib/session";
import { signOut } from "./actions";
import { Attacks } from "./attacks";
import { BrowserCall } from "./browser-call";
import { SeenCard } from "./seen-card";
import { WhosePage } from "./whose-page";

export default async function Home() {
  const sent = await headers();
  const session = await currentSession();
  if (session === null) {
    return (
      <section aria-labelledby="title">
        <WhosePage />
        <h1 id="title">Nobody is signed in</h1>
        <p>Sign up, and see what a backend that verifies no token gets to know of you.</p>
        <p className="buttons">
          <Link className="button" href="/sign-up">
            Sign up
          </Link>
          <Link className="button quiet" href="/sign-in">
            Sign in
          </Link>
        </p>
      </section>
    );
  }
  return (
    <>
      <WhosePage />
      <div className="title">
        <h1>What the backend saw</h1>
        <form action={signOut}>
          <span>{session.user.name}</span> <button type="submit">Sign out</button>
        </form>
      </div>
      <p>Two calls of the same API by the same person. Envoy asks extauthz about each, and the backend reads who it is from headers that only Envoy can set.</p>
      <div className="columns">
        <BrowserCall key={session.session.id} />
        <ServerCall cookie={sent.get("cookie")} />
      </div>
      <Attacks />
    </>
  );
}

/** The call from the server that makes this page, by the session cookie. */
async function ServerCall({ cookie }: { cookie: string | null }) {
  const outcome = await serverClient({ baseURL: env().apiURL, cookie: () => cookie })
    .get<Header[]>("/api/headers")
    .then(
      (all) => ({ seen: seenOf(all ?? []) }),
      (fault: unknown) => {
        if (fault instanceof ApiError) return { fault };
        throw fault;
      },
    );
  let content: React.ReactNode;
  let state = "failed";
  if ("seen" in outcome) {
    state = "seen";
    content = <SeenCard seen={outcome.seen} caption="Identity headers of the server’s call" />;
  } else if (outcome.fault.isOutage) {
    state = "outage";
    content = <p className="outage">The check cannot be asked just now. You are still signed in; load the page again in a moment.</p>;
  } else {
    content = <p className="fault">{outcome.fault.detail}</p>;
  }
  return (
    <section aria-labelledby="server" data-state={state} id="server-call">
      <h2 id="server">From the server, by session cookie</h2>
      {content}
    </section>
  );
}
