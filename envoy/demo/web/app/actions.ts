"use server";

import { APIError } from "better-auth/api";
import { headers } from "next/headers";
import { redirect } from "next/navigation";
import { auth } from "@/lib/auth";
import { env } from "@/lib/env";

/** What a form shows when it comes back. */
export interface FormState {
  fault?: string;
  /** Typed before, so that it need not be typed again; never the password. */
  name?: string;
  email?: string;
}

function field(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value.trim() : "";
}

export async function signUp(_: FormState, form: FormData): Promise<FormState> {
  const typed = { name: field(form, "name"), email: field(form, "email") };
  const password = form.get("password");
  if (typed.name === "") return { ...typed, fault: "Enter your name." };
  try {
    await auth().api.signUpEmail({ body: { ...typed, password: typeof password === "string" ? password : "" }, headers: await headers() });
  } catch (error) {
    return { ...typed, fault: faultOf(error) };
  }
  redirect("/");
}

export async function signIn(_: FormState, form: FormData): Promise<FormState> {
  const email = field(form, "email");
  const password = form.get("password");
  try {
    await auth().api.signInEmail({ body: { email, password: typeof password === "string" ? password : "" }, headers: await headers() });
  } catch (error) {
    return { email, fault: faultOf(error) };
  }
  redirect("/");
}

export async function signOut(): Promise<void> {
  await auth().api.signOut({ headers: await headers() });
  redirect("/");
}

/** An error of Better Auth's is for the person; any other is an outage, and its details are for the log. */
function faultOf(error: unknown): string {
  if (error instanceof APIError) return `${error.body?.message ?? "That did not work"}.`.replace(/\.\.$/, ".");
  console.error(error);
  return "The server could not do that just now. Try again in a moment.";
}

/** What came of a request. */
export interface Outcome {
  status: number;
  body: string;
}

/** A token by the real key that ended an hour ago. It is good for nothing but to see it refused. */
export async function expiredToken(): Promise<string> {
  const session = await auth().api.getSession({ headers: await headers() });
  if (session === null) return "";
  const { baseURL, audience } = env();
  const now = Math.floor(Date.now() / 1000);
  const { token } = await auth().api.signJWT({ body: { payload: { sub: session.user.id, iss: baseURL, aud: audience, iat: now - 7200, exp: now - 3600 } } });
  return token;
}

/**
 * What a page of another site would have a browser send, were the cookie not SameSite=Lax: a POST with the user's cookie. It is sent from here, for
 * no page can say of itself that it is another.
 */
export async function crossSitePost(): Promise<Outcome> {
  const cookie = (await headers()).get("cookie") ?? "";
  try {
    const response = await fetch(new URL("/api/notes", env().apiURL), { method: "POST", headers: { cookie, origin: "https://evil.example.com" }, cache: "no-store" });
    return { status: response.status, body: await response.text() };
  } catch {
    return { status: 0, body: "The API could not be reached" };
  }
}
