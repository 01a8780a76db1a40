import { ApiError, type ApiClient, type ApiRequest, type Transport, clientOf, read, send, sleep } from "./request.js";

export interface ServerClientOptions {
  /** Where the API is: Envoy, and not the backend behind it. */
  baseURL: string;
  /** The `Cookie` header of the request that is being answered, such as `(await headers()).get("cookie")` in Next.js. */
  cookie: () => string | null | undefined | Promise<string | null | undefined>;
  /** The session cookie's name, where `cookiePrefix` is set; `better-auth.session_token` by default. */
  cookieName?: string;
  /** How often an outage (503) is tried again; 1 by default, for somebody waits for the page. */
  retries?: number;
  fetch?: typeof fetch;
  sleep?: Transport["sleep"];
}

/**
 * A client for the server that renders pages. It sends the session token of the user's cookie as a bearer token, so that the request needs no cookie and
 * no Origin, and a sign-out holds at once. Make one for each request: it is one user's.
 */
export function serverClient(options: ServerClientOptions): ApiClient {
  const transport: Transport = {
    baseURL: options.baseURL,
    fetch: options.fetch ?? globalThis.fetch,
    sleep: options.sleep ?? sleep,
    retries: options.retries ?? 1,
  };
  const name = options.cookieName ?? "better-auth.session_token";
  return clientOf(async <T>(path: string, init: ApiRequest = {}): Promise<T> => {
    const token = sessionToken(await options.cookie(), name);
    if (token === undefined) throw new ApiError(401, "Not signed in", "unauthenticated");
    return read<T>(await send(transport, path, { cache: "no-store", ...init }, `Bearer ${token}`));
  });
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
