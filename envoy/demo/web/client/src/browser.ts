import { ApiError, type ApiClient, type ApiRequest, type Transport, clientOf, drop, errorOf, read, send, sleep } from "./request.js";

export interface BrowserClientOptions {
  /** Where the API is; the page's own origin by default. */
  baseURL?: string;
  /** Where Better Auth gives a JWT for the session cookie; `/api/auth/token` of the page's own origin by default. */
  tokenURL?: string;
  /** How often an outage (503) is tried again, after the time that the server asks for; 2 by default. */
  retries?: number;
  fetch?: typeof fetch;
  /** Milliseconds since 1970. */
  now?: () => number;
  sleep?: Transport["sleep"];
}

/** A token is renewed so long before its end, for the way and for clocks that differ. Milliseconds. */
const renewBefore = 60_000;

/**
 * A client for the browser. The JWT is kept in memory until a minute before its end and is nowhere else; however many calls
 * wait for one, one request fetches it. A call that is refused with 401 is sent once more with a fresh token. An outage is tried again and is never
 * taken for a sign-out.
 */
export function browserClient(options: BrowserClientOptions = {}): ApiClient & { forget(): void } {
  const transport: Transport = {
    baseURL: options.baseURL ?? globalThis.location.origin,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    sleep: options.sleep ?? sleep,
    retries: options.retries ?? 2,
  };
  const now = options.now ?? Date.now;
  const tokenURL = options.tokenURL ?? "/api/auth/token";
  let held: { token: string; until: number } | undefined;
  let fetching: Promise<string> | undefined;

  async function fetchToken(): Promise<string> {
    // Not under the signal of the call that happens to be first: the others wait for it, too.
    const page = globalThis.location?.origin ?? transport.baseURL;
    const response = await send({ ...transport, baseURL: page }, tokenURL, { credentials: "include" }, undefined);
    if (!response.ok) throw await errorOf(response);
    const { token } = await read<{ token: string }>(response);
    held = { token, until: expiryOf(token) - renewBefore };
    return token;
  }

  function token(): Promise<string> {
    if (held !== undefined && now() < held.until) return Promise.resolve(held.token);
    fetching ??= fetchToken().finally(() => {
      fetching = undefined;
    });
    return fetching;
  }

  async function request<T>(path: string, init: ApiRequest = {}): Promise<T> {
    init.signal?.throwIfAborted();
    const used = await within(token(), init.signal);
    let response = await send(transport, path, init, `Bearer ${used}`);
    if (response.status === 401 && !(init.body instanceof ReadableStream)) {
      if (held?.token === used) held = undefined; // another call may have renewed it meanwhile
      const fresh = await within(token(), init.signal);
      if (fresh !== used) {
        drop(response);
        response = await send(transport, path, init, `Bearer ${fresh}`);
      }
    }
    if (response.status === 401) held = undefined;
    return read<T>(response);
  }

  return {
    ...clientOf(request),
    /** Forgets the token, as after a sign-out. */
    forget() {
      held = undefined;
    },
  };
}

/** The promise's outcome, unless the signal ends the wait for it. */
function within<T>(promise: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  if (signal == null) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** A JWT's exp in milliseconds. It is read to know when to renew, and decides nothing. */
function expiryOf(token: string): number {
  try {
    const payload = token.split(".")[1] ?? "";
    const { exp } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) as { exp?: unknown };
    if (typeof exp === "number") return exp * 1000;
  } catch {
    // Below.
  }
  throw new ApiError(0, "The token has no exp", "malformed_token");
}
