import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { serverClient } from "extauthz-api-client";
import { bearer, fails, me, outage, setUp } from "./setup.js";

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
    assert.ok((await fails(serverClient({ ...options, cookie: async () => cookie }).get("/api/me"), "unauthenticated")).isSignedOut);
    assert.equal(state.calls.length, 0);
  }
});

test("on the server, too, an outage is tried again and told from a refusal", async () => {
  const { state, options } = setUp(outage);
  const error = await fails(serverClient({ ...options, cookie: () => "better-auth.session_token=x" }).get("/api/me"), "unavailable");
  assert.ok(error.isOutage);
  assert.equal(state.calls.length, 2);
});

test("nothing is cached unless the call says so", async () => {
  const seen: RequestInit[] = [];
  const fetch = (async (_: unknown, init: RequestInit) => {
    seen.push(init);
    return me();
  }) as unknown as typeof globalThis.fetch;
  const api = serverClient({ ...setUp(me).options, fetch, cookie: () => "better-auth.session_token=x" });
  await api.get("/api/me");
  await api.get("/api/me", { next: { revalidate: 60, tags: ["me"] } });
  await api.get("/api/me", { cache: "force-cache" });
  assert.deepEqual(seen.map((init) => [init.cache, "next" in init ? init.next : undefined]), [
    ["no-store", undefined],
    [undefined, { revalidate: 60, tags: ["me"] }],
    ["force-cache", undefined],
  ]);
});

test("a cookie that cannot be read is no outage, and its error is the cause", async () => {
  const outside = new Error("`headers` was called outside a request scope");
  const cookie = async () => Promise.reject(outside);
  const error = await fails(serverClient({ ...setUp(me).options, cookie }).get("/api/me"), "not_sent");
  assert.deepEqual([error.isOutage, error.isSignedOut, error.cause], [false, false, outside]);
});

test("a signal of a page's whole life does not gather answers that nobody reads", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const { signal } = new AbortController();
  const api = serverClient({ ...setUp(me).options, fetch: async () => me(), cookie: () => "better-auth.session_token=x" });
  for (let i = 0; i < 10; i++) await api.raw("/file", { signal });
  assert.equal(getEventListeners(signal, "abort").length, 1);
  await api.get("/api/me"); // or the last would still be held
  for (let tries = 0; tries < 1000 && getEventListeners(signal, "abort").length > 0; tries++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
