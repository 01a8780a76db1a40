import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, browserClient, path, serverClient } from "extauthz-api-client";
import { bearer, fails, jwt, me, minute, origin, outage, relayed, setUp } from "./setup.js";

const clients = {
  browser: (options: ReturnType<typeof setUp>["options"], more: object = {}) => browserClient({ ...options, ...more }),
  server: (options: ReturnType<typeof setUp>["options"], more: object = {}) => serverClient({ ...options, cookie: () => "better-auth.session_token=x", ...more }),
};

for (const [where, client] of Object.entries(clients)) {
  for (const foreign of [
    "https://evil.example/x", "//evil.example/x", "/\\evil.example/x", "\\\\evil.example/x", "\t//evil.example/x", "/\t/evil.example/x", "http://app.example.com/x",
    "https://app.example.com.evil.example/x", "https://app.example.com@evil.example/x", "https://user:pass@app.example.com/x", "javascript:alert(1)", "data:text/plain,x",
    "https:\\\\evil.example", " https://evil.example/x", "blob:https://app.example.com/x",
  ]) {
    test(`${where}: no credential goes to ${JSON.stringify(foreign)}`, async () => {
      const { state, options } = setUp(me);
      await fails(client(options).get(foreign), "foreign_url");
      await fails(client(options).raw(foreign), "foreign_url");
      assert.ok(state.calls.every((call) => call.url.startsWith(origin)));
      assert.equal(state.calls.length, 0);
    });
  }

  test(`${where}: a base URL's path is kept, and not left`, async () => {
    for (const [base, asked, expected] of [
      [`${origin}/v1`, "/api/me", `${origin}/v1/api/me`],
      [`${origin}/v1/`, "/api/me", `${origin}/v1/api/me`],
      [`${origin}/v1`, "api/me?a=b#c", `${origin}/v1/api/me?a=b`],
      [`${origin}/v1`, `${origin}/v1/api/me`, `${origin}/v1/api/me`],
      [origin, "/a:b", `${origin}/a:b`],
      [origin, "a/b:c", `${origin}/a/b:c`],
      [origin, "", `${origin}/`],
      [`${origin}/v1`, "", `${origin}/v1/`],
    ] as const) {
      const { state, options } = setUp(me);
      await client({ ...options, baseURL: base }).get(asked);
      assert.equal(state.calls[0]?.url.replace(/#.*/, ""), expected, `${base} ${asked}`);
    }
    for (const outside of ["/../admin", "/a/../../admin", "/%2e%2e/admin", "/.%2E/admin", `${origin}/admin`, `${origin}/v10/x`]) {
      const { state, options } = setUp(me);
      await fails(client({ ...options, baseURL: `${origin}/v1` }).get(outside), "foreign_url");
      assert.equal(state.calls.length, 0);
    }
  });

  test(`${where}: an outage is tried again, with jitter, and told when it lasts`, async () => {
    const { state, options } = setUp(outage);
    const error = await fails(client(options, { retries: 2, random: () => 0.5 }).get("/api/me"), "unavailable");
    assert.deepEqual([error.isOutage, error.isSignedOut, error.status], [true, false, 503]);
    assert.equal(state.calls.length, 3);
    assert.deepEqual(state.slept, [1250, 1250]);
  });

  test(`${where}: what changes something is sent again only where the backend was not asked`, async () => {
    for (const [title, answer, expected] of [
      ["extauthz could not decide", outage, 3],
      ["the check's word, as a backend passes it on that asked another", relayed(outage), 1],
      ["the same of a backend that says no-store", relayed(outage, { "x-envoy-upstream-service-time": "7", "cache-control": "no-store" }), 1],
      ["the backend's own 503", () => Response.json({ detail: "The bank is closed" }, { status: 503, headers: { "retry-after": "1" } }), 1],
      ["a proxy's 503", () => new Response("upstream connect error", { status: 503 }), 1],
      ["a 504", () => new Response("", { status: 504 }), 1],
      ["no answer", () => Promise.reject(new TypeError("fetch failed")), 1],
      ["a 500", () => new Response("", { status: 500 }), 1],
    ] as const) {
      for (const method of ["POST", "PATCH"] as const) {
        const { state, options } = setUp(answer as () => Response);
        await assert.rejects(client(options, { retries: 2 }).request("/api/payments", { method, body: {} }), ApiError);
        assert.equal(state.calls.length, expected, `${method}: ${title}`);
      }
    }
    for (const method of ["GET", "PUT", "DELETE", "HEAD"]) {
      const { state, options } = setUp(() => Promise.reject(new TypeError("fetch failed")));
      assert.equal((await fails(client(options, { retries: 2 }).request("/api/x", { method }), "unreachable")).isOutage, true);
      assert.equal(state.calls.length, 3, method);
    }
  });

  test(`${where}: nobody waits for longer than the call may take`, async () => {
    const { state, options } = setUp(() => Response.json({ detail: "Authentication service unavailable" }, { status: 503, headers: { "retry-after": "60" } }));
    await fails(client(options).get("/api/me"), "unavailable");
    await fails(client(options).get("/api/me", { timeout: 500 }), "unavailable");
    assert.equal(state.calls.length, 2);
    const never = setUp(() => new Promise<Response>(() => {}));
    const error = await fails(client(never.options, { timeout: 20 }).get("/api/me"), "timeout");
    assert.deepEqual([error.status, error.isOutage], [0, true]);
    const hanging = setUp(() => new Response(new ReadableStream({ pull: () => new Promise(() => {}) })));
    await fails(client(hanging.options, { timeout: 20 }).get("/api/me"), "timeout");
  });

  test(`${where}: a caller's signal ends the call as an ApiError, wherever it is`, async () => {
    const aborted = await fails(client(setUp(me).options).get("/api/me", { signal: AbortSignal.abort("enough") }), "aborted");
    assert.deepEqual([aborted.isAborted, aborted.isOutage, aborted.isSignedOut, aborted.cause], [true, false, false, "enough"]);
    const controller = new AbortController();
    const sent = setUp(() => new Promise<Response>(() => controller.abort()));
    await fails(client(sent.options).get("/api/me", { signal: controller.signal }), "aborted");
    const late = new AbortController();
    const waiting = setUp(outage);
    const sleep = async () => late.abort();
    await fails(client(waiting.options, { sleep }).get("/api/me", { signal: late.signal }), "aborted");
    assert.equal(waiting.state.calls.length, 1);
    assert.equal((await fails(client(sent.options).get("/api/me", { signal: AbortSignal.timeout(5) }), "timeout")).isOutage, true);
  });

  test(`${where}: a body that is cut off is an outage`, async () => {
    const { options } = setUp(
      () => new Response(new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode('{"id":')), pull: (c) => c.error(new TypeError("terminated")) }), { headers: { "content-type": "application/json" } }),
    );
    const error = await fails(client(options).get("/api/me"), "cut_off");
    assert.deepEqual([error.status, error.isOutage], [0, true]);
  });

  test(`${where}: a header's value that cannot be one is told as that`, async () => {
    const { state, options } = setUp(me);
    await fails(client(options).get("/api/me", { headers: { "x-name": "Zoë 李" } }), "bad_header");
    await client(options).get("/api/me", { headers: { "x-name": encodeURIComponent("100 % Zoë 李") } });
    assert.equal(state.calls[0]?.headers.get("x-name"), "100%20%25%20Zo%C3%AB%20%E6%9D%8E");
  });

  test(`${where}: text and CSV are texts, pages are not`, async () => {
    const answers = [
      new Response("id,name\n1,Zoë\n", { headers: { "content-type": "text/csv; charset=utf-8" } }),
      new Response("42", { headers: { "content-type": "text/plain" } }),
      new Response("<1,Zoë\n", { headers: { "content-type": "text/csv" } }),
      Response.json(42),
    ];
    const { options } = setUp(() => answers.shift() ?? new Response("<html>"));
    const api = client(options);
    assert.equal(await api.get<string>("/export.csv"), "id,name\n1,Zoë\n");
    assert.equal(await api.get("/text"), "42");
    assert.equal(await api.get("/less.csv"), "<1,Zoë\n");
    assert.equal(await api.get("/json"), 42);
    const error = await fails(api.get("/page"), "malformed_answer");
    assert.deepEqual([error.status, error.body, error.isOutage], [200, "<html>", false]);
  });

  test(`${where}: raw gives the answer itself, and throws what is a failure`, async () => {
    const bytes = new Uint8Array([0, 255, 7]);
    const { options } = setUp((request) => (request.url.endsWith("/file") ? new Response(bytes, { headers: { "content-type": "application/octet-stream" } }) : Response.json({ detail: "Not Found" }, { status: 404 })));
    const response = await client(options, { timeout: 1000 }).raw("/file");
    assert.deepEqual(new Uint8Array(await response.arrayBuffer()), bytes);
    assert.equal((await fails(client(options).raw("/none"), "not_found")).detail, "Not Found");
    const controller = new AbortController();
    const endless = setUp((request) => new Response(new ReadableStream({ start: (c) => request.signal.addEventListener("abort", () => c.error(request.signal.reason)) })));
    const stream = await client(endless.options, { timeout: 10 }).raw("/events", { signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 30)); // the time-out was for the headers
    controller.abort();
    await assert.rejects(stream.text());
  });

  test(`${where}: a value is checked, and has its type, by parse`, async () => {
    const { options } = setUp((request) => (request.method === "DELETE" ? new Response(null, { status: 204 }) : me()));
    const parse = (value: unknown): { id: string } => {
      if (typeof value !== "object" || value === null || !("id" in value) || typeof value.id !== "string") throw new TypeError("no id");
      return { id: value.id };
    };
    const user = await client(options).get("/api/me", { parse });
    assert.equal(user.id.length, 6); // without a ?, by its type
    const error = await fails(client(options).delete("/api/me", { parse }), "unexpected_answer");
    assert.ok(error.cause instanceof TypeError);
    const none: unknown = await client(options).delete("/api/me");
    assert.equal(none, undefined);
  });
}

for (const [where, client] of Object.entries(clients)) {
  test(`${where}: a call that cannot be made is the caller's fault and no outage`, async () => {
    const { state, options } = setUp(me);
    const loop: { self?: unknown } = {};
    loop.self = loop;
    for (const made of [
      client(options).post("/api/notes", { big: BigInt(1) }),
      client(options).post("/api/notes", loop),
      client(options).get("/api/me", { body: {} }),
      client(options).request("/api/me", { method: "GE T" }),
      client(options).request("/api/me", { method: "TRACE" }),
      client(options).get("/api/me", { mode: "no-cors" }), // a browser would leave the credential out, and the cookie in
      client({ ...options, baseURL: "api.example.com" }).get("/api/me"),
      client({ ...options, baseURL: "localhost:8080" }).get("/api/me"),
    ]) {
      const error = await fails(made, "not_sent");
      assert.deepEqual([error.isOutage, error.isSignedOut, error.status], [false, false, 0]);
    }
    assert.equal(state.calls.length, 0);
  });

  test(`${where}: what is sent is what was there when it was called`, async () => {
    const { state, options } = setUp(() => (state.calls.length % 2 === 1 ? outage() : me()));
    const order = { amount: 5 };
    const form = new FormData();
    form.set("amount", "5");
    form.set("file", new File(["5"], "five.txt", { type: "text/plain" }));
    const query = new URLSearchParams({ amount: "5" });
    const bytes = new TextEncoder().encode("amount 5");
    const headers = new Headers({ "x-amount": "5" });
    const changed = () => {
      order.amount = 6;
      for (const body of [form, query]) body.set("amount", "6");
      bytes.fill(54);
      headers.set("x-amount", "6");
    };
    for (const body of [order, form, query, bytes, bytes.buffer, new DataView(bytes.buffer, 0, 8)]) {
      const sent = client(options, { sleep: async () => changed() }).post("/api/payments", body, { headers });
      changed(); // a form that is typed on
      await sent;
      order.amount = 5;
      for (const body of [form, query]) body.set("amount", "5");
      bytes.set(new TextEncoder().encode("amount 5"));
      headers.set("x-amount", "5");
      const [first, second] = await Promise.all(state.calls.splice(0).map(async (call) => `${call.headers.get("x-amount")} ${await call.text()}`));
      assert.match(first ?? "", /^5 [^]*5/);
      assert.doesNotMatch(first ?? "", /\b6\b/);
      if (body !== form) assert.equal(second, first); // whose parts are divided by chance
      else assert.match(second ?? "", /"amount"\r\n\r\n5\r\n[^]*filename="five.txt"\r\nContent-Type: text\/plain\r\n\r\n5/);
    }
  });

  test(`${where}: a server's own word for a cause is not taken for the client's`, async () => {
    const { options } = setUp(() => Response.json({ detail: "Aborted", code: "aborted" }, { status: 409 }));
    assert.equal((await fails(client(options).get("/api/me"), "aborted")).isAborted, false);
  });

  test(`${where}: a GET may say that it has no body`, async () => {
    const { options } = setUp(me);
    assert.deepEqual(await client(options).get("/api/me", { body: null }), { id: "user-1" });
  });

  test(`${where}: a stream needs nothing said of it`, async () => {
    const { state, options } = setUp(() => new Response(null, { status: 204 }));
    await client(options).post("/api/notes", new Blob(["text"]).stream());
    assert.equal(await state.calls[0]?.text(), "text");
  });

  test(`${where}: a timeout of any number never has a POST repeated, or a long Retry-After cut short`, async () => {
    const answer = () => Response.json({ detail: "The bank is closed" }, { status: 503 });
    for (const timeout of [0, -1, Number.NaN, Infinity]) {
      const { state, options } = setUp(answer);
      await assert.rejects(client(options, { timeout }).post("/api/payments", {}), ApiError);
      assert.ok(state.calls.length <= 1, `${timeout}: ${state.calls.length} calls`);
    }
    const real = setUp(me).options;
    let calls = 0;
    const fetch = async (input: URL | RequestInfo, init?: RequestInit) => {
      if (new URL(String(input)).pathname === "/api/auth/token") return real.fetch(input, init);
      calls++;
      return Response.json({}, { status: 503, headers: { "retry-after": "4000000" } }); // 46 days: more than a timer holds
    };
    const signal = AbortSignal.timeout(50);
    await fails(client({ ...real, fetch }, { timeout: Infinity, sleep: undefined }).get("/api/me", { signal }), "timeout");
    assert.equal(calls, 1);
  });
}

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

test("FastAPI's list of faults is kept whole", async () => {
  const list = [
    { loc: ["body", "text"], msg: "Field required", type: "missing" },
    { loc: ["query", "n", 0], msg: "Input should be a number" },
  ];
  const { options } = setUp(() => Response.json({ detail: list }, { status: 422 }));
  const error = await fails(browserClient(options).get("/api/me"), "unprocessable");
  assert.deepEqual(error.faults, list);
  assert.deepEqual(error.body, { detail: list });
  assert.equal(error.detail, "body.text: Field required; query.n.0: Input should be a number");
});

test("a proxy's page is the status it has", async () => {
  const { options } = setUp(() => new Response("<html>", { status: 502, statusText: "Bad Gateway" }));
  const error = await fails(browserClient({ ...options, retries: 0 }).get("/api/me"), "unavailable");
  assert.deepEqual([error.isOutage, error.detail, error.body, error.faults], [true, "Bad Gateway", "<html>", []]);
});

test("an abort while the token is fetched is that call's alone", async () => {
  let give: (response: Response) => void = () => {};
  const { state, options } = setUp(me, () => new Promise((resolve) => (give = resolve)));
  const api = browserClient(options);
  const controller = new AbortController();
  const first = fails(api.get("/api/me", { signal: controller.signal }), "aborted");
  const second = api.get("/api/me");
  controller.abort();
  await first;
  give(Response.json({ token: jwt(15 * minute) }));
  assert.deepEqual(await second, { id: "user-1" });
  assert.equal(state.tokens, 1);
});

test("a stream is sent once, for it cannot be sent again", async () => {
  const { state, options } = setUp(outage);
  const body = new ReadableStream({ start: (controller) => controller.close() });
  await assert.rejects(browserClient(options).post("/api/notes", body, { duplex: "half" } as object), ApiError);
  assert.equal(state.calls.length, 1);
});

test("a value in a path is one segment of it", () => {
  const user = (userId: string | number) => path`/api/users/${userId}/notes`;
  assert.equal(user("zoë/../admin?x#y"), "/api/users/zo%C3%AB%2F..%2Fadmin%3Fx%23y/notes");
  assert.equal(user(7), "/api/users/7/notes");
  assert.equal(path`/api/me`, "/api/me");
  for (const value of ["..", ".", ""]) assert.throws(() => user(value), TypeError);
});
