"use client";

import { useActionState, useEffect, useRef } from "react";
import type { FormState } from "./actions";

export interface Field {
  name: "name" | "email" | "password";
  label: string;
  type: "text" | "email" | "password";
  autoComplete: string;
  hint?: string;
}

/** A form that also works before its script is there: it is sent to the same action then. */
export function AuthForm({ action, fields, submit }: { action: (state: FormState, form: FormData) => Promise<FormState>; fields: Field[]; submit: string }) {
  const [state, send, pending] = useActionState(action, {});
  const fault = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (state.fault !== undefined) fault.current?.focus();
  }, [state]);
  return (
    <form action={send} aria-busy={pending}>
      {state.fault !== undefined && (
        <p role="alert" className="fault" tabIndex={-1} ref={fault}>
          {state.fault}
        </p>
      )}
      {fields.map((field) => (
        <p key={field.name}>
          <label htmlFor={field.name}>{field.label}</label>
          <input
            id={field.name}
            name={field.name}
            type={field.type}
            autoComplete={field.autoComplete}
            required
            minLength={field.name === "password" ? 8 : undefined}
            aria-describedby={field.hint === undefined ? undefined : `${field.name}-hint`}
            defaultValue={field.name === "password" ? undefined : state[field.name]}
          />
          {field.hint !== undefined && (
            <span id={`${field.name}-hint`} className="hint">
              {field.hint}
            </span>
          )}
        </p>
      ))}
      <button type="submit" disabled={pending}>
        {pending ? "One moment…" : submit}
      </button>
    </form>
  );
}
