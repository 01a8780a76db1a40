"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";
import { signUp } from "@/lib/auth-client";
import { faultOf } from "@/lib/faults";

/** Signs up somebody who is made up, for who only wants to look. */
export function DemoUser() {
  const router = useRouter();
  const [pending, setPending] = useState(false);
  const [fault, setFault] = useState<string>();

  async function start() {
    if (pending) return;
    setPending(true);
    setFault(undefined);
    const serial = crypto.getRandomValues(new Uint32Array(2)).join("-");
    const failure = await signUp.email({ name: "Zoë Demo", email: `zoe-${serial}@example.com`, password: crypto.getRandomValues(new Uint32Array(6)).join("-") }).then(
      ({ error }) => error,
      () => ({}),
    );
    setPending(false);
    if (failure !== null) return setFault(faultOf(failure).text);
    router.refresh();
  }

  return (
    <>
      <button type="button" onClick={() => void start()} aria-disabled={pending}>
        {pending ? "One moment…" : "Look around as a demo user"}
      </button>
      <span role="alert" className="fault">
        {fault}
      </span>
    </>
  );
}
