"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";
import { authClient } from "@/lib/auth-client";

/** What is so, where a sign-out did not work. */
const stays = "You could not be signed out just now, and are still signed in. Try again in a moment.";

/** The button that signs out. */
export function SignOut() {
  const router = useRouter();
  const [pending, setPending] = useState(false);
  const [fault, setFault] = useState("");

  async function signOut() {
    if (pending) return;
    setPending(true);
    setFault("");
    try {
      // Better Auth's sign-out says that it worked and takes the cookie away, also while it cannot delete the session, which would live on. So it is asked first
      // whether the database is there.
      const session = await authClient.getSession({ query: { disableCookieCache: true } });
      const outcome = session.error === null ? await authClient.signOut() : session;
      if (outcome.error !== null) return setFault(stays);
      router.replace("/");
      router.refresh();
    } catch {
      setFault(stays);
    } finally {
      setPending(false);
    }
  }

  return (
    <>
      <button type="button" onClick={() => void signOut()} aria-disabled={pending}>
        {pending ? "One moment…" : "Sign out"}
      </button>
      <span role="alert" className="fault">
        {fault}
      </span>
    </>
  );
}
