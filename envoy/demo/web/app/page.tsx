import { headers } from "next/headers";
import Link from "next/link";
import { serverClient } from "extauthz-api-client";
import { stateOf } from "@/lib/calls";
import { env } from "@/lib/env";
import type { Header } from "@/lib/seen";
import { currentSession } from "@/lib/session";
import { Attacks } from "./attacks";
import { Calls } from "./calls";
import { DemoUser } from "./demo-user";
import { Outage } from "./outage";
import { Picture } from "./picture";
import { SignOut } from "./sign-out";
import { WhosePage } from "./whose-page";

export default async function Home() {
  const session = await currentSession();
  if (session === null) {
    return (
      <section aria-labelledby="title">
        <WhosePage />
        <h1 id="title">Nobody is signed in</h1>
        <p className="lead">
          Better Auth signs people in, and extauthz checks their tokens in Envoy, before a request reaches the backend. The backend verifies nothing: it reads who calls from
          headers that no client can set.
        </p>
        <Picture />
        <p className="buttons">
          <DemoUser />
          <Link className="button quiet" href="/sign-up">
            Sign up
          </Link>
          <Link className="button quiet" href="/sign-in">
            Sign in
          </Link>
        </p>
      </section>
    );
  }
  const cookie = (await headers()).get("cookie");
  const server = stateOf(serverClient({ baseURL: env().apiURL, cookie: () => cookie }).get<Header[]>("/api/headers")); // not waited for: it streams in
  return (
    <>
      <WhosePage />
      <div className="title">
        <h1>What the backend saw</h1>
        <p className="who">
          <span>{session.user.name}</span> <SignOut />
        </p>
      </div>
      <div className="columns">
        <Attacks user={{ id: session.user.id, name: session.user.name }} />
        {env().demoControl !== undefined && <Outage />}
      </div>
      <Calls key={session.session.id} server={server} now={now()} />
    </>
  );
}

/** The server's clock, when the page is made. */
const now = () => Date.now();
