"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useRef, useState, useSyncExternalStore } from "react";
import { signIn, signUp } from "@/lib/auth-client";
import { type AuthFailure, type Fault, faultOf } from "@/lib/faults";

interface Field {
  name: "name" | "email" | "password";
  label: string;
  type: "text" | "email" | "password";
  autoComplete: string;
  hint?: string;
}

const email: Field = { name: "email", label: "E-mail", type: "email", autoComplete: "username" };
const kinds = {
  "sign-in": {
    submit: "Sign in",
    fields: [email, { name: "password", label: "Password", type: "password", autoComplete: "current-password" }] as Field[],
  },
  "sign-up": {
    submit: "Sign up",
    fields: [
      { name: "name", label: "Name", type: "text", autoComplete: "name" },
      email,
      { name: "password", label: "Password", type: "password", autoComplete: "new-password", hint: "Eight characters or more" },
    ] as Field[],
  },
};

const never = () => () => {};

/** Sends it to Better Auth's own address and not past it, so that its rate limit holds. */
async function send(kind: keyof typeof kinds, typed: Record<Field["name"], string>): Promise<Fault | undefined> {
  let wait: string | null = null;
  const fetchOptions = {
    onError: ({ response }: { response: Response }) => {
      wait = response.headers.get("x-retry-after");
    },
  };
  let failure: AuthFailure | null;
  try {
    const { name, email, password } = typed;
    ({ error: failure } = kind === "sign-up" ? await signUp.email({ name, email, password, fetchOptions }) : await signIn.email({ email, password, fetchOptions }));
  } catch {
    failure = {}; // no answer came, or not in time
  }
  return failure === null ? undefined : faultOf(failure, wait);
}

/** The form to sign in or up. What was typed stays, whatever comes back, and so does the focus. */
export function AuthForm({ kind }: { kind: keyof typeof kinds }) {
  const { fields, submit } = kinds[kind];
  const router = useRouter();
  const form = useRef<HTMLFormElement>(null);
  const [fault, setFault] = useState<Fault>();
  const [pending, setPending] = useState(false);
  const ready = useSyncExternalStore(never, () => true, () => false); // its script is there: before that a click would send the form to nowhere

  async function onSubmit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (pending) return;
    const data = new FormData(event.currentTarget);
    const value = (name: string) => String(data.get(name) ?? "");
    const typed = { name: value("name").trim(), email: value("email").trim(), password: value("password") };
    let found: Fault | undefined;
    if (kind === "sign-up" && typed.name === "") found = { text: "Enter your name.", field: "name" };
    else {
      setPending(true);
      found = await send(kind, typed);
      setPending(false);
    }
    setFault(found);
    if (found === undefined) {
      router.replace("/");
      router.refresh();
      return;
    }
    const control = (name: string) => form.current?.elements.namedItem(name);
    const password = control("password");
    if (found.refused && password instanceof HTMLInputElement) password.value = "";
    const wrong = control(found.refused ? "password" : (found.field ?? ""));
    if (wrong instanceof HTMLInputElement) wrong.focus(); // else it stays where it is
  }

  return (
    <form ref={form} onSubmit={onSubmit} method="post" aria-busy={pending}>
      <div role="alert" id="fault" className="fault">
        {fault !== undefined && <p>{fault.text}</p>}
      </div>
      {fields.map(({ name, label, type, autoComplete, hint }) => {
        const wrong = fault?.field === name || (fault?.refused === true && name === "password");
        const described = [hint === undefined ? "" : `${name}-hint`, wrong ? "fault" : ""].filter(Boolean).join(" ");
        return (
          <p key={name}>
            <label htmlFor={name}>{label}</label>
            <input
              id={name}
              name={name}
              type={type}
              autoComplete={autoComplete}
              required
              minLength={name === "password" && kind === "sign-up" ? 8 : undefined}
              aria-invalid={wrong || undefined}
              aria-describedby={described === "" ? undefined : described}
            />
            {hint !== undefined && (
              <span id={`${name}-hint`} className="hint">
                {hint}
              </span>
            )}
          </p>
        );
      })}
      <button type="submit" disabled={!ready} aria-disabled={pending}>
        {pending ? "One moment…" : submit}
      </button>
    </form>
  );
}
