import assert from "node:assert/strict";
import { ApiError } from "extauthz-api-client";

export const origin = "https://app.example.com";
export const minute = 60_000;

/** A JWT of a user that ends so many milliseconds after 1970; its signature is nobody's business here. */
export function jwt(exp: number, serial: number | string = 0, claims: object = {}): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "EdDSA" })}.${part({ exp: exp / 1000, serial, ...claims })}.x`;
}

export type Handler = (request: Request) => Response | Promise<Response>;

/**
 * A server in a function: `/api/auth/token` gives tokens of 15 minutes, `/api/auth/get-session` says that somebody is signed in, everything else is
 * the handler's. Time passes where it is told to.
 */
export function setUp(handler: Handler, tokens?: Handler, session: Handler = () => Response.json({ session: {}, user: {} })) {
  const state = { now: 0, tokens: 0, sessions: 0, calls: [] as Request[], slept: [] as number[] };
  const fetch = async (input: URL | RequestInfo, init?: RequestInit): Promise<Response> => {
    const request = new Request(input as URL, init);
    request.signal.throwIfAborted();
    const { pathname } = new URL(request.url);
    if (pathname === "/api/auth/token") {
      state.tokens++;
      return tokens ? tokens(request) : Response.json({ token: jwt(state.now + 15 * minute, state.tokens) });
    }
    if (pathname === "/api/auth/get-session") {
      state.sessions++;
      return session(request);
    }
    state.calls.push(request);
    return handler(request);
  };
  const options = {
    baseURL: origin,
    tokenURL: `${origin}/api/auth/token`,
    fetch: fetch as typeof globalThis.fetch,
    now: () => state.now,
    random: () => 0,
    sleep: async (milliseconds: number, signal?: AbortSignal | null) => {
      signal?.throwIfAborted();
      state.slept.push(milliseconds);
    },
  };
  return { state, options };
}

export const me = () => Response.json({ id: "user-1" });
export const bearer = (request: Request | undefined) => request?.headers.get("authorization");
export const refused = () =>
  Response.json(
    { detail: "Token has expired" },
    { status: 401, headers: { "cache-control": "no-store", "www-authenticate": 'Bearer realm="api", error="invalid_token", error_description="Token has expired"' } },
  );
/** As extauthz says that it could not decide. */
export const outage = () => Response.json({ detail: "Authentication service unavailable" }, { status: 503, headers: { "cache-control": "no-store", "retry-after": "1" } });

/** The same status and body from a backend: Envoy says how long that took. */
export const relayed =
  (answer: () => Response, headers: Record<string, string> = { "retry-after": "1" }): Handler =>
  async () =>
    new Response(await answer().text(), { status: answer().status, headers });

/** Expects an ApiError of this code, and returns it. */
export async function fails(promise: Promise<unknown>, code: string): Promise<ApiError> {
  const error = await promise.then(
    (value) => assert.fail(`${JSON.stringify(value)} came, and no ${code}`),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}
