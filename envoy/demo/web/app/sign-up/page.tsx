import type { Metadata } from "next";
import Link from "next/link";
import { signUp } from "../actions";
import { AuthForm } from "../form";
import { WhosePage } from "../whose-page";

export const metadata: Metadata = { title: "Sign up" };

export default function SignUp() {
  return (
    <section aria-labelledby="title">
      <WhosePage />
      <h1 id="title">Sign up</h1>
      <AuthForm
        action={signUp}
        submit="Sign up"
        fields={[
          { name: "name", label: "Name", type: "text", autoComplete: "name" },
          { name: "email", label: "E-mail", type: "email", autoComplete: "username" },
          { name: "password", label: "Password", type: "password", autoComplete: "new-password", hint: "Eight characters or more" },
        ]}
      />
      <p>
        You have an account? <Link href="/sign-in">Sign in</Link>
      </p>
    </section>
  );
}
