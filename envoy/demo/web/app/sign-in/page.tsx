import type { Metadata } from "next";
import Link from "next/link";
import { signIn } from "../actions";
import { AuthForm } from "../form";
import { WhosePage } from "../whose-page";

export const metadata: Metadata = { title: "Sign in" };

export default function SignIn() {
  return (
    <section aria-labelledby="title">
      <WhosePage />
      <h1 id="title">Sign in</h1>
      <AuthForm
        action={signIn}
        submit="Sign in"
        fields={[
          { name: "email", label: "E-mail", type: "email", autoComplete: "username" },
          { name: "password", label: "Password", type: "password", autoComplete: "current-password" },
        ]}
      />
      <p>
        No account yet? <Link href="/sign-up">Sign up</Link>
      </p>
    </section>
  );
}
