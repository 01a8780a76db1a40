import { sleep } from "./deadline";
import { ApiError } from "./errors";
import { type ApiClient, clientOf, send, type Transport } from "./request";

export interface ServerClientOptions {
  /** Where the API is: Envoy, and not the backend behind it; with the path that all its paths begin with. */
  baseURL: string;
  /** The `Cookie` header of the request that is being answered, such as `(await headers()).get("cookie")` in Next.js. */
  cookie: () => string | null | undefined | Promise<string | null | undefined>;
  /** The session cookie's name, where `cookiePrefix` is set; `better-auth.session_token` by default. */
  cookieName?: string;
  /** How often an outage is tried again; 1 by default, for somebody waits for the page. */
  retries?: number;
  /** Milliseconds for a whole call, with its retries and its body; 10,000 by default. */
  timeout?: number;
  fetch?: typeof fetch;
  sleep?: Transport["sleep"];
  random?: () => number;
}

/**
 * A client for the server that renders pages. It sends the session token of the user's cookie as a bearer token, so that the request needs no cookie and
 * no Origin, and a sign-out holds at once. Make one for each request: it is one user's.
 *
 * Nothing is cached unless a call says so by `cache` or by Next.js's `next: { revalidate, tags }`; its cache's key holds the Authorization header, so
 * that nobody gets what was cached for another.
 */
export function serverClient(options: ServerClientOptions): ApiClient {
  const timeout = options.timeout ?? 10_000;
  const transport: Transport = {
    baseURL: options.baseURL,
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)), // as it is when called: frameworks replace it
    sleep: options.sleep ?? sleep,
    random: options.random ?? Math.random,
    retries: options.retries ?? 1,
  };
  const name = options.cookieName ?? "better-auth.session_token";
  return clientOf(async (path, init, deadline) => {
    const token = sessionToken(await options.cookie(), name);
    if (token === undefined) throw new ApiError(401, "Not signed in", "unauthenticated");
    const cached = init.cache !== undefined || init.next !== undefined;
    return send(transport, path, cached ? init : { ...init, cache: "no-store" }, () => `Bearer ${token}`, deadline);
  }, timeout);
}

/** The cookie's value as it stands, which extauthz reads; the one that only https may set goes first. */
function sessionToken(header: string | null | undefined, name: string): string | undefined {
  const pairs = (header ?? "").split(";").map((pair) => pair.trim());
  for (const wanted of [`__Secure-${name}=`, `${name}=`]) {
    const found = pairs.find((pair) => pair.startsWith(wanted));
    if (found !== undefined && found.length > wanted.length) return found.slice(wanted.length);
  }
  return undefined;
}
