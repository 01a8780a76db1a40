import type { Metadata } from "next";
import Link from "next/link";
import { AuthForm } from "../form";
import { WhosePage } from "../whose-page";

export const metadata: Metadata = { title: "Sign up" };

export default function SignUp() {
  return (
    <section aria-labelledby="title">
      <WhosePage />
      <h1 id="title">Sign up</h1>
      <AuthForm kind="sign-up" />
      <p>
        You have an account? <Link href="/sign-in">Sign in</Link>
      </p>
    </section>
  );
}
