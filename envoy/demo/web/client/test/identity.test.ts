import assert from "node:assert/strict";
import { test } from "node:test";
import { browserClient } from "extauthz-api-client";
import { bearer, fails, jwt, me, minute, origin, outage, refused, setUp } from "./setup.js";

const alice = { id: "session-a", userId: "alice" };
const bob = { id: "session-b", userId: "bob" };

/** A server at which somebody can be signed in, and whose tokens can be held up. */
function site(handler = me as (request: Request) => Response | Promise<Response>) {
  const who = { user: "alice", hold: undefined as Promise<void> | undefined };
  const made = setUp(handler, async () => {
    const { user } = who; // as the cookie said when the request came
    await who.hold;
    return Response.json({ token: jwt(15 * minute, user, { sub: user }) });
  });
  const users = () => made.state.calls.map((call) => (JSON.parse(atob(bearer(call)?.split(".")[1] ?? "")) as { sub: string }).sub);
  return { ...made, who, users };
}

/** A promise that is kept when asked. */
function gate() {
  let open = () => {};
  const closed = new Promise<void>((resolve) => (open = resolve));
  return { closed, open };
}

test("a page of another session forgets the token", async () => {
  const { options, who, users } = site();
  const api = browserClient(options);
  api.identify(alice);
  await api.get("/api/me");
  api.identify(null);
  who.user = "bob";
  api.identify(bob);
  await api.get("/api/me");
  assert.deepEqual(users(), ["alice", "bob"]);
});

test("another session of the same user forgets the token, too; the same one does not", async () => {
  const { state, options } = site();
  const api = browserClient(options);
  api.identify(alice);
  await api.get("/api/me");
  api.identify({ ...alice });
  await api.get("/api/me");
  assert.equal(state.tokens, 1);
  api.identify({ ...alice, id: "session-a2" });
  await api.get("/api/me");
  assert.equal(state.tokens, 2);
});

test("a page that says who it is after the first call keeps a token of that user and drops another's", async () => {
  for (const [page, tokens] of [
    [alice, 1],
    [bob, 2],
  ] as const) {
    const { state, options, who } = site();
    const api = browserClient(options);
    await api.get("/api/me");
    api.identify(page);
    who.user = page.userId;
    await api.get("/api/me");
    assert.equal(state.tokens, tokens, page.userId);
  }
});

test("a page never sends another user's token, though the cookie has become theirs", async () => {
  const { state, options, who } = site();
  const api = browserClient(options);
  api.identify(alice);
  who.user = "bob"; // by another tab, of which this one has not heard
  const error = await fails(api.get("/api/me"), "session_changed");
  assert.deepEqual([error.isSignedOut, error.isOutage, state.calls.length], [false, false, 0]);
  api.identify(null);
  await fails(api.get("/api/me"), "session_changed"); // a page of nobody's
  assert.equal(state.calls.length, 0);
});

for (const [title, change] of [
  ["forget()", (api: ReturnType<typeof browserClient>) => api.forget()],
  ["another page", (api: ReturnType<typeof browserClient>) => api.identify(bob)],
] as const) {
  test(`a token that was asked for before ${title} is dropped, and so are the calls that wait for it`, async () => {
    const { options, who, users } = site();
    const api = browserClient(options);
    api.identify(alice);
    const { closed, open } = gate();
    who.hold = closed;
    const pay = api.post("/api/payments", { amount: 5 });
    const refusal = fails(pay, "session_changed");
    change(api);
    who.user = "bob";
    who.hold = undefined;
    api.identify(bob);
    await api.get("/api/me");
    open();
    await refusal;
    await api.get("/api/me");
    assert.deepEqual(users(), ["bob", "bob"], "nothing goes out as Alice, and Alice's payment not as Bob's");
  });
}

test("a call is not tried again once the session is another", async () => {
  for (const answer of [outage, refused]) {
    const { state, options } = site(answer);
    const api = browserClient({
      ...options,
      sleep: async () => api.identify(bob),
      fetch: async (input, init) => {
        const response = await options.fetch(input, init);
        if (answer === refused && state.calls.length === 1) api.identify(bob);
        return response;
      },
    });
    api.identify(alice);
    await fails(api.post("/api/payments", {}), "session_changed");
    assert.equal(state.calls.length, 1, answer.name);
  }
});

test("what an earlier user could read is not handed to the next; what was done is told", async () => {
  const { closed, open } = gate();
  const { options } = site(async () => {
    await closed;
    return me();
  });
  const api = browserClient(options);
  api.identify(alice);
  await api.token();
  const read = fails(api.get("/api/me"), "session_changed");
  const done = api.post("/api/notes", {});
  await new Promise((resolve) => setTimeout(resolve)); // both are sent
  api.forget();
  open();
  await read;
  assert.deepEqual(await done, { id: "user-1" });
});

test("Better Auth's client forgets the token with whatever it changes, before its promise is kept", async () => {
  const { options, who, users } = site();
  const api = browserClient(options);
  const [plugin] = api.authPlugin.fetchPlugins;
  await api.get("/api/me");
  plugin?.hooks.onRequest({ method: "GET" }); // get-session changes nothing
  plugin?.hooks.onResponse({ request: { method: "GET" } });
  await api.get("/api/me");
  plugin?.hooks.onRequest({ method: "POST" });
  const between = api.get("/api/me"); // the cookie may be Alice's or Bob's
  who.user = "bob";
  plugin?.hooks.onResponse({ request: { method: "POST" } });
  await fails(between, "session_changed");
  await api.get("/api/me");
  assert.deepEqual(users(), ["alice", "alice", "bob"]);
});

test("a client of a module on a server can be made, and says what to call there", async () => {
  const api = browserClient();
  api.identify(alice);
  api.forget();
  await fails(api.get("/api/me"), "no_browser");
});

test("nor is an answer whose body ends after the session did", async () => {
  const { closed, open } = gate();
  const slow = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    await closed;
    controller.enqueue(new TextEncoder().encode('{"id":"alice"}'));
    controller.close();
  };
  const { options } = site(() => new Response(new ReadableStream({ pull: slow })));
  const api = browserClient(options);
  api.identify(alice);
  const read = fails(api.get("/api/me"), "session_changed");
  await new Promise((resolve) => setTimeout(resolve)); // its headers are there
  api.identify(bob);
  open();
  await read;
});

test("a page that says who it is while a call of another user's is renewed gets nothing of that user's", async () => {
  const { closed, open } = gate();
  const { state, options } = site(async (request) => {
    if (request.url.endsWith("/refused")) return refused();
    await closed;
    return me();
  });
  const api = browserClient(options);
  await api.token();
  const late = fails(api.get("/api/late"), "session_changed");
  await fails(api.get("/api/refused"), "invalid_token"); // Alice's token is dropped
  api.identify(bob);
  open();
  await late;
  assert.equal(state.calls.length, 3);
});

test("a GET of Better Auth's that begins a session forgets the token, too", async () => {
  for (const [url, tokens] of [
    [`${origin}/api/auth/magic-link/verify?token=x`, 2],
    [new URL(`${origin}/api/auth/verify-email?token=x`), 2],
    ["/api/auth/callback/github?code=x", 2],
    [`${origin}/api/auth/get-session?next=/callback/verify`, 1],
    [`${origin}/api/auth/token`, 1],
    [undefined, 1],
  ] as const) {
    const { state, options } = site();
    const api = browserClient(options);
    const [plugin] = api.authPlugin.fetchPlugins;
    await api.token();
    plugin?.hooks.onRequest({ method: "GET", url });
    plugin?.hooks.onResponse({ request: { method: "GET", url } });
    await api.token();
    assert.equal(state.tokens, tokens, String(url));
  }
});

test("no answer comes out of the browser's cache, where an earlier user's may be, unless the call says so", async () => {
  const { state, options } = site();
  const api = browserClient(options);
  await api.get("/api/me");
  await api.raw("/file");
  await api.get("/api/news", { cache: "default" });
  assert.deepEqual(state.calls.map(({ cache }) => cache), ["no-store", "no-store", "default"]);
});

test("a worker, which has no page, hears from the pages that the session is another", async () => {
  class Channel {
    onmessage?: (event: { data: unknown }) => void;
    constructor() {
      channels.push(this);
    }
    postMessage() {}
  }
  const channels: Channel[] = [];
  const scope = { location: { origin }, BroadcastChannel: Channel, addEventListener() {} };
  const before = Object.fromEntries(Object.keys(scope).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const [name, value] of Object.entries(scope)) Object.defineProperty(globalThis, name, { value, configurable: true });
  try {
    const { state, options } = site();
    const api = browserClient(options);
    const tokensAfter = async (data: unknown) => {
      channels[0]?.onmessage?.({ data });
      await api.token();
      return state.tokens;
    };
    await api.token();
    assert.equal(await tokensAfter({ session: "session-b" }), 2);
    assert.equal(await tokensAfter({ session: "session-b" }), 2, "another page of the same session ends nothing");
    assert.equal(await tokensAfter(null), 3);
    assert.equal(await tokensAfter({ session: "session-b" }), 3);
    assert.equal(await tokensAfter({ session: null }), 4);
    assert.equal(await tokensAfter({ session: "session-b" }), 5);
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, value);
    }
  }
});
