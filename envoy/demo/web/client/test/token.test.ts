import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, browserClient } from "extauthz-api-client";
import { bearer, fails, jwt, me, minute, outage, refused, relayed, setUp } from "./setup.js";

test("a token is fetched once for many calls, and kept until a minute before its end", async () => {
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

for (const [clock, offset] of [
  ["16 minutes fast", 16 * minute],
  ["16 minutes slow", -16 * minute],
  ["a day fast", 24 * 60 * minute],
] as const) {
  test(`a clock that is ${clock} changes nothing: a token's life is counted by the issuer's`, async () => {
    const issued = 1_800_000_000_000;
    const { state, options } = setUp(me, () => Response.json({ token: jwt(issued + 15 * minute, state.tokens, { iat: issued / 1000 }) }));
    state.now = issued + offset;
    const api = browserClient(options);
    await api.get("/api/me");
    state.now += 14 * minute - 1;
    await api.get("/api/me");
    assert.equal(state.tokens, 1);
    state.now += 1;
    await api.get("/api/me");
    assert.equal(state.tokens, 2);
  });
}

test("a token of half a minute is used for half its life, and not fetched for each call", async () => {
  const { state, options } = setUp(me, () => Response.json({ token: jwt(30_000, 1, { iat: 0 }) }));
  const api = browserClient(options);
  await api.get("/api/me");
  state.now = 14_999;
  await api.get("/api/me");
  assert.equal(state.tokens, 1);
});

test("a call that is refused is sent once more with a fresh token", async () => {
  let serial = 0;
  const { state, options } = setUp(() => (++serial === 1 ? refused() : me()));
  assert.deepEqual(await browserClient(options).get("/api/me"), { id: "user-1" });
  assert.equal(state.tokens, 2);
  assert.notEqual(bearer(state.calls[0]), bearer(state.calls[1]));
});

test("what changes something is sent again with a fresh token only where the check itself refused it", async () => {
  const own = () => Response.json({ detail: "Wrong PIN" }, { status: 401 });
  const proxies = () => new Response("", { status: 401, headers: { "www-authenticate": "Bearer" } });
  for (const [answer, method, expected] of [
    [refused, "POST", 2],
    [() => Response.json({ detail: "Invalid token" }, { status: 401, headers: { "cache-control": "no-store" } }), "PATCH", 2],
    [relayed(refused), "POST", 1], // by a backend that did its part, asked another, and says what that was told
    [relayed(refused, { "x-envoy-upstream-service-time": "7", "cache-control": "no-store" }), "POST", 1],
    [own, "POST", 1], // the backend was asked, and may have done something
    [own, "PATCH", 1],
    [proxies, "POST", 1],
    [own, "PUT", 2],
    [own, "GET", 2],
  ] as const) {
    const { state, options } = setUp(answer);
    const error = await browserClient(options)
      .request("/api/payments", { method })
      .catch((error: unknown) => error);
    assert.equal(state.calls.length, expected, `${method} ${String(error)}`);
    assert.ok(error instanceof ApiError && error.isSignedOut);
  }
});

test("an address that is wrong is a mistake and no outage", async () => {
  const { state, options } = setUp(me);
  for (const wrong of [{ tokenURL: "capacitor://localhost/api/auth/token" }, { tokenURL: "http://[/token" }, { baseURL: "capacitor://localhost", tokenURL: "/api/auth/token" }]) {
    const error = await fails(browserClient({ ...options, ...wrong }).get("/api/me"), "not_sent");
    assert.equal(error.isOutage, false, error.detail);
  }
  assert.equal(state.tokens, 0);
});

test("a token's answer that is cut off is an outage", async () => {
  const cut = () => new Response(new ReadableStream({ pull: (controller) => controller.error(new TypeError("terminated")) }));
  assert.equal((await fails(browserClient(setUp(me, cut).options).get("/api/me"), "cut_off")).isOutage, true);
});

test("the session is asked for beside the token, whatever the token's address has behind it", async () => {
  const asked: string[] = [];
  const session = (request: Request) => {
    asked.push(request.url);
    return Response.json(null);
  };
  const { options } = setUp(me, unauthorized, session);
  const error = await fails(browserClient({ ...options, tokenURL: `${options.tokenURL}?for=/api/x#y/z` }).get("/api/me"), "UNAUTHORIZED");
  assert.equal(error.isSignedOut, true);
  assert.deepEqual(asked, ["https://app.example.com/api/auth/get-session"]);
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
  const error = await fails(browserClient(options).get("/api/me"), "invalid_token");
  assert.deepEqual([error.status, error.detail, error.isSignedOut, error.isOutage], [401, "Token has expired", true, false]);
  assert.equal(state.calls.length, 2);
});

const unauthorized = () => Response.json({ message: "Unauthorized", code: "UNAUTHORIZED" }, { status: 401 });

test("who is signed out at Better Auth is told so, and the next call asks again", async () => {
  let signedIn = false;
  const { state, options } = setUp(me, () => (signedIn ? Response.json({ token: jwt(15 * minute) }) : unauthorized()), () => Response.json(null));
  const api = browserClient(options);
  const error = await fails(api.get("/api/me"), "UNAUTHORIZED");
  assert.deepEqual([error.isSignedOut, error.isOutage], [true, false]);
  assert.deepEqual([state.calls.length, state.sessions], [0, 1]);
  signedIn = true;
  await api.get("/api/me");
});

for (const [title, session] of [
  ["cannot say whether there is a session", () => Response.json({ message: "Failed to get session" }, { status: 500 })],
  ["is rate-limited", () => Response.json({ message: "Too many requests" }, { status: 429 })],
  ["answers with a proxy's page", () => new Response("<html>Bad gateway</html>", { status: 502 })],
  ["says that there is one", () => Response.json({ session: { id: "s" }, user: { id: "u" } })],
] as const) {
  test(`a 401 for the token while Better Auth ${title} is an outage`, async () => {
    const { state, options } = setUp(me, unauthorized, session);
    const error = await fails(browserClient(options).get("/api/me"), "auth_unavailable");
    assert.deepEqual([error.isSignedOut, error.isOutage, state.calls.length], [false, true, 0]);
  });
}

test("a 401 for the token that is over when asked again is nothing", async () => {
  const { state, options } = setUp(me, () => (state.tokens === 1 ? unauthorized() : Response.json({ token: jwt(15 * minute) })));
  assert.deepEqual(await browserClient(options).get("/api/me"), { id: "user-1" });
});

for (const status of [500, 502, 503]) {
  test(`a ${status} for the token is an outage and no sign-out`, async () => {
    const { options } = setUp(me, () => new Response("", { status }));
    const error = await fails(browserClient(options).get("/api/me"), "auth_unavailable");
    assert.deepEqual([error.isSignedOut, error.isOutage], [false, true]);
  });
}

test("an answer that is no token is an error with a word for it", async () => {
  for (const answer of [() => Response.json({}), () => Response.json({ token: "abc" }), () => Response.json({ token: 7 }), () => new Response("<html>")]) {
    await fails(browserClient(setUp(me, answer).options).get("/api/me"), "malformed_token");
  }
});

test("token() gives the same token as the calls have", async () => {
  const { state, options } = setUp(me);
  const api = browserClient(options);
  const token = await api.token();
  await api.get("/api/me");
  assert.equal(bearer(state.calls[0]), `Bearer ${token}`);
  assert.equal(state.tokens, 1);
});

test("the token's request is made with the cookie and past every cache, and may be at another origin with a path", async () => {
  const asked: Request[] = [];
  const { options } = setUp(me, (request) => {
    asked.push(request);
    return Response.json({ token: jwt(15 * minute) });
  });
  await browserClient({ ...options, tokenURL: "https://auth.example.com/api/auth/token?x=1" }).get("/api/me");
  assert.deepEqual(asked.map(({ url, credentials, cache }) => [url, credentials, cache]), [["https://auth.example.com/api/auth/token?x=1", "include", "no-store"]]);
  assert.equal(bearer(asked[0]), null);
});

test("an outage of the token's request is tried again", async () => {
  const { state, options } = setUp(me, () => (state.tokens < 3 ? outage() : Response.json({ token: jwt(15 * minute) })));
  assert.deepEqual(await browserClient(options).get("/api/me"), { id: "user-1" });
  assert.equal(state.tokens, 3);
});
