import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, browserClient, serverClient } from "../src/index.js";

const origin = "https://app.example.com";
const minute = 60_000;

/** A JWT that ends so many milliseconds after 1970; its signature is nobody's business here. */
function jwt(exp: number, serial = 0): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "EdDSA" })}.${part({ exp: exp / 1000, serial })}.x`;
}

type Handler = (request: Request) => Response | Promise<Response>;

/** A server in a function: `/api/auth/token` gives tokens of 15 minutes, everything else is the handler's. */
function setUp(handler: Handler, tokens?: Handler) {
  const state = { now: 0, tokens: 0, calls: [] as Request[], slept: [] as number[] };
  const fetch = async (input: URL | RequestInfo, init?: RequestInit): Promise<Response> => {
    const request = new Request(input as URL, init);
    request.signal.throwIfAborted();
    if (new URL(request.url).pathname === "/api/auth/token") {
      state.tokens++;
      return tokens ? tokens(request) : Response.json({ token: jwt(state.now + 15 * minute, state.tokens) });
    }
    state.calls.push(request);
    return handler(request);
  };
  const options = {
    baseURL: origin,
    tokenURL: `${origin}/api/auth/token`,
    fetch: fetch as typeof globalThis.fetch,
    now: () => state.now,
    sleep: async (milliseconds: number, signal?: AbortSignal | null) => {
      signal?.throwIfAborted();
      state.slept.push(milliseconds);
    },
  };
  return { state, options };
}

const me = () => Response.json({ id: "user-1" });
const bearer = (request: Request | undefined) => request?.headers.get("authorization");
const refused = () => Response.json({ detail: "Token has expired" }, { status: 401, headers: { "www-authenticate": 'Bearer realm="api", error="invalid_token", error_description="Token has expired"' } });
const outage = () => Response.json({ detail: "Authentication service unavailable" }, { status: 503, headers: { "retry-after": "1" } });

test("the browser's token is fetched once for many calls, and kept until a minute before its end", async () => {
  const { state, options } = setUp(me);
  const api = browserClient(options);
  const answers = await Promise.all(Array.from({ length: 20 }, () => api.get<{ id: string }>("/api/me")));
  assert.deepEqual(answers[19], { id: "user-1" });
  assert.equal(state.tokens, 1);
  state.now = 14 * minute - 1;
  await api.get("/api/me");
  assert.equal(state.tokens, 1);
  state.now = 14 * minute;
  await api.get("/api/me");
  assert.equal(state.tokens, 2);
});

test("a call that is refused is sent once more with a fresh token", async () => {
  let serial = 0;
  const { state, options } = setUp(() => (++serial === 1 ? refused() : me()));
  assert.deepEqual(await browserClient(options).get("/api/me"), { id: "user-1" });
  assert.equal(state.tokens, 2);
  assert.notEqual(bearer(state.calls[0]), bearer(state.calls[1]));
});

test("twenty calls that are refused together renew the token once", async () => {
  const old = jwt(15 * minute, 1);
  const { state, options } = setUp((request) => (bearer(request) === `Bearer ${old}` ? refused() : me()));
  const api = browserClient(options);
  await Promise.all(Array.from({ length: 20 }, () => api.get("/api/me")));
  assert.equal(state.tokens, 2);
});

test("a refusal of the fresh token is final, with status, detail and code", async () => {
  const { state, options } = setUp(refused);
  await assert.rejects(browserClient(options).get("/api/me"), (error: unknown) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.detail, error.code, error.isSignedOut, error.isOutage], [401, "Token has expired", "invalid_token", true, false]);
    return true;
  });
  assert.equal(state.calls.length, 2);
});

test("an outage is tried again after the time that the server asks for, and is no sign-out", async () => {
  let serial = 0;
  const { state, options } = setUp(() => (++serial < 3 ? outage() : me()));
  assert.deepEqual(await browserClient(options).get("/api/me"), { id: "user-1" });
  assert.deepEqual(state.slept, [1000, 1000]);
  assert.equal(state.tokens, 1);
});

test("an outage that lasts is told as one, and the token is kept", async () => {
  let down = true;
  const { state, options } = setUp(() => (down ? outage() : me()));
  const api = browserClient(options);
  await assert.rejects(api.get("/api/me"), (error: unknown) => error instanceof ApiError && error.isOutage && !error.isSignedOut && error.code === "unavailable");
  assert.equal(state.calls.length, 3);
  down = false;
  await api.get("/api/me");
  assert.equal(state.tokens, 1);
});

test("an outage while the token is fetched is no sign-out either", async () => {
  const { options } = setUp(me, () => outage());
  await assert.rejects(browserClient(options).get("/api/me"), (error: unknown) => error instanceof ApiError && error.isOutage && !error.isSignedOut);
});

test("who is signed out at Better Auth is told so, and the next call asks again", async () => {
  let signedIn = false;
  const { state, options } = setUp(me, () => (signedIn ? Response.json({ token: jwt(15 * minute) }) : Response.json({ message: "Unauthorized", code: "UNAUTHORIZED" }, { status: 401 })));
  const api = browserClient(options);
  await assert.rejects(api.get("/api/me"), (error: unknown) => error instanceof ApiError && error.isSignedOut && error.code === "UNAUTHORIZED");
  assert.equal(state.calls.length, 0);
  signedIn = true;
  await api.get("/api/me");
});

test("forget drops the token", async () => {
  const { state, options } = setUp(me);
  const api = browserClient(options);
  await api.get("/api/me");
  api.forget();
  await api.get("/api/me");
  assert.equal(state.tokens, 2);
});

test("a server that cannot be reached is an outage", async () => {
  const { options } = setUp(() => {
    throw new TypeError("fetch failed");
  });
  await assert.rejects(browserClient(options).get("/api/me"), (error: unknown) => error instanceof ApiError && error.status === 0 && error.isOutage);
});

test("headers merge, whatever their form, and none takes Authorization away", async () => {
  const { state, options } = setUp(me);
  const api = browserClient(options);
  await api.get("/api/me", { headers: { "x-trace": "1", Authorization: "Bearer mine" } });
  await api.get("/api/me", { headers: new Headers([["x-trace", "2"]]) });
  await api.get("/api/me", { headers: [["x-trace", "3"]] });
  assert.deepEqual(state.calls.map((call) => call.headers.get("x-trace")), ["1", "2", "3"]);
  for (const call of state.calls) assert.equal(bearer(call), `Bearer ${jwt(15 * minute, 1)}`);
});

test("bodies: JSON, text and forms; 204 and empty answers are undefined", async () => {
  const { state, options } = setUp(async (request) => (request.method === "DELETE" ? new Response(null, { status: 204 }) : new Response("", { status: 201 })));
  const api = browserClient(options);
  assert.equal(await api.post("/api/notes", { text: "Zoë" }), undefined);
  assert.equal(await api.put("/api/notes", "plain"), undefined);
  assert.equal(await api.patch("/api/notes", new URLSearchParams({ a: "b" })), undefined);
  assert.equal(await api.delete("/api/notes"), undefined);
  const [post, put, patch] = state.calls;
  assert.equal(post?.headers.get("content-type"), "application/json");
  assert.equal(await post?.text(), '{"text":"Zoë"}');
  assert.equal(await put?.text(), "plain");
  assert.equal(await patch?.text(), "a=b");
});

test("FastAPI's list of faults, a proxy's page and an answer that is no JSON are errors with something to show", async () => {
  const answers = [
    Response.json({ detail: [{ loc: ["body", "text"], msg: "Field required" }] }, { status: 422 }),
    new Response("<html>", { status: 502, statusText: "Bad Gateway" }),
    new Response("<html>"),
  ];
  const { options } = setUp(() => answers.shift() ?? me());
  const api = browserClient(options);
  await assert.rejects(api.get("/api/me"), (error: unknown) => error instanceof ApiError && error.code === "unprocessable" && error.detail.includes("Field required"));
  await assert.rejects(api.get("/api/me"), (error: unknown) => error instanceof ApiError && error.isOutage && error.detail === "Bad Gateway");
  await assert.rejects(api.get("/api/me"), (error: unknown) => error instanceof ApiError && error.code === "malformed_answer");
});

test("an abort ends the call while it waits for the token, for the answer and for an outage to end, and nobody else's", async () => {
  let give: (response: Response) => void = () => {};
  const { state, options } = setUp(me, () => new Promise((resolve) => (give = resolve)));
  const api = browserClient(options);
  const controller = new AbortController();
  const first = api.get("/api/me", { signal: controller.signal });
  const second = api.get("/api/me");
  controller.abort();
  await assert.rejects(first, { name: "AbortError" });
  give(Response.json({ token: jwt(15 * minute) }));
  assert.deepEqual(await second, { id: "user-1" });
  assert.equal(state.tokens, 1);
  await assert.rejects(api.get("/api/me", { signal: AbortSignal.abort() }), { name: "AbortError" });

  const late = new AbortController();
  const { options: waiting } = setUp(() => outage());
  await assert.rejects(
    browserClient({
      ...waiting,
      sleep: async (_, signal) => {
        late.abort();
        signal?.throwIfAborted();
      },
    }).get("/api/me", { signal: late.signal }),
    { name: "AbortError" },
  );
});

test("a stream is sent once, for it cannot be sent again", async () => {
  const { state, options } = setUp(outage);
  const body = new ReadableStream({ start: (controller) => controller.close() });
  await assert.rejects(browserClient(options).post("/api/notes", body, { duplex: "half" } as object), ApiError);
  assert.equal(state.calls.length, 1);
});

test("the server sends the session cookie's value as a bearer token, the secure one first", async () => {
  for (const [cookie, want] of [
    ["theme=dark; better-auth.session_token=abc.def%3D; lang=en", "abc.def%3D"],
    ["better-auth.session_token=plain; __Secure-better-auth.session_token=secure", "secure"],
  ] as const) {
    const { state, options } = setUp(me);
    await serverClient({ ...options, cookie: () => cookie }).get("/api/me");
    assert.equal(bearer(state.calls[0]), `Bearer ${want}`);
    assert.equal(state.calls[0]?.headers.get("cookie"), null);
    assert.equal(state.tokens, 0);
  }
});

test("on the server nobody is signed in without that very cookie", async () => {
  for (const cookie of [null, undefined, "", "better-auth.session_data=x", "better-auth.session_token=", "x-better-auth.session_token=y"]) {
    const { state, options } = setUp(me);
    await assert.rejects(serverClient({ ...options, cookie: async () => cookie }).get("/api/me"), (error: unknown) => error instanceof ApiError && error.isSignedOut);
    assert.equal(state.calls.length, 0);
  }
});

test("on the server, too, an outage is tried again and told from a refusal", async () => {
  const { state, options } = setUp(outage);
  await assert.rejects(serverClient({ ...options, cookie: () => "better-auth.session_token=x" }).get("/api/me"), (error: unknown) => error instanceof ApiError && error.isOutage);
  assert.equal(state.calls.length, 2);
});
