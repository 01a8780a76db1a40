import { type NextRequest, NextResponse } from "next/server";
import { env } from "./lib/env";

/**
 * The content security policy stands here and not in Envoy, since its nonce is new for each page and Next.js puts it into the page's scripts. The
 * headers that never change are Envoy's (envoy/demo/envoy.yaml), for then the API's answers have them, too; so is a policy for what is no page.
 */
export function proxy(request: NextRequest) {
  const nonce = btoa(crypto.randomUUID());
  const developing = process.env.NODE_ENV === "development"; // its scripts are evaluated, and news of changes come by WebSocket
  const policy = [
    "default-src 'self'",
    `script-src 'self' 'nonce-${nonce}' 'strict-dynamic'${developing ? " 'unsafe-eval'" : ""}`,
    developing ? "style-src 'self' 'unsafe-inline'" : `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    `connect-src ${["'self'", ...env().apiOrigins, ...(developing ? ["ws:"] : [])].join(" ")}`,
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
  const headers = new Headers(request.headers);
  headers.set("content-security-policy", policy); // where Next.js finds the nonce
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("content-security-policy", policy);
  return response;
}

export const config = { matcher: [{ source: "/((?!api/|_next/static|_next/image|icon.svg).*)" }] };
