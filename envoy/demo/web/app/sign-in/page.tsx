import type { Metadata } from "next";
import Link from "next/link";
import { AuthForm } from "../form";
import { WhosePage } from "../whose-page";

export const metadata: Metadata = { title: "Sign in" };

export default function SignIn() {
  return (
    <section aria-labelledby="title">
      <WhosePage />
      <h1 id="title">Sign in</h1>
      <AuthForm kind="sign-in" />
      <p>
        No account yet? <Link href="/sign-up">Sign up</Link>
      </p>
    </section>
  );
}
