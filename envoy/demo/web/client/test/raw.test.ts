import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { browserClient, serverClient } from "extauthz-api-client";
import { fails, me, setUp } from "./setup.js";

const cookie = () => "better-auth.session_token=x";

/** A body whose parts are given one by one. */
function parts() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let cancelled: unknown;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given), cancel: (reason) => void (cancelled = reason) });
  const give = (text: string) => controller.enqueue(new TextEncoder().encode(text));
  return { body, give, end: () => controller.close(), fail: (error: Error) => controller.error(error), cancelled: () => cancelled };
}

for (const [where, client] of [
  ["browser", (fetch: typeof globalThis.fetch) => browserClient({ ...setUp(me).options, fetch: tokens(fetch) })],
  ["server", (fetch: typeof globalThis.fetch) => serverClient({ ...setUp(me).options, fetch, cookie })],
] as const) {
  test(`${where}: any number of calls have one listener at a signal, and none once they are over`, async () => {
    const { signal } = new AbortController();
    const warnings: string[] = [];
    const warned = ({ message }: Error) => warnings.push(message);
    process.on("warning", warned);
    const streams = Array.from({ length: 30 }, parts);
    let opened = 0;
    const api = client(async () => new Response(streams[opened++]?.body ?? '{"id":1}'));
    const open = await Promise.all(streams.map(() => api.raw("/file", { signal })));
    await Promise.all(Array.from({ length: 30 }, () => api.get("/api/me", { signal })));
    assert.equal(getEventListeners(signal, "abort").length, 1);
    for (const [i, { give, end, fail }] of streams.entries()) {
      const body = open[i]?.body;
      if (i % 3 === 0) await body?.cancel();
      else if (i % 3 === 1) {
        give("whole");
        end();
        assert.equal(await open[i]?.text(), "whole");
      } else {
        fail(new TypeError("terminated"));
        await fails(open[i]?.text() ?? Promise.resolve(), "cut_off");
      }
    }
    assert.equal(getEventListeners(signal, "abort").length, 0, "without a garbage collection");
    await new Promise((resolve) => setTimeout(resolve)); // warnings come a turn later
    process.off("warning", warned);
    assert.deepEqual(warnings.filter((text) => text.includes("AbortSignal")), []);
  });

  test(`${where}: a signal ends each of the calls that have it, and a body that is cancelled the server's`, async () => {
    const controller = new AbortController();
    const { body, cancelled } = parts();
    let opened = 0;
    const api = client(async (_, init) => {
      if (opened++ > 0) return new Response(body);
      const { signal } = init as { signal: AbortSignal };
      return new Response(new ReadableStream({ start: (c) => signal.addEventListener("abort", () => c.error(signal.reason)) }));
    });
    const stream = await api.raw("/events", { signal: controller.signal });
    const other = await api.raw("/file");
    await other.body?.cancel("enough");
    assert.equal(cancelled(), "enough");
    const read = fails(stream.text(), "aborted");
    controller.abort("left");
    assert.equal((await read).cause, "left");
    await fails(api.get("/api/me", { signal: controller.signal }), "aborted");
  });
}

/** A fetch that gives a token itself. */
function tokens(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  const token = setUp(me).options.fetch;
  return (input, init) => (String(input).endsWith("/api/auth/token") ? token(input, init) : fetch(input, init));
}

test("a download of one user's is not handed on to the next, from the part on that comes after the change", async () => {
  for (const [title, change] of [
    ["forget()", (api: ReturnType<typeof browserClient>) => api.forget()],
    ["another page", (api: ReturnType<typeof browserClient>) => api.identify({ id: "session-b", userId: "bob" })],
  ] as const) {
    const { body, give, cancelled } = parts();
    const api = browserClient({ ...setUp(me).options, fetch: tokens(async () => new Response(body)) });
    await api.token();
    const reader = (await api.raw("/events")).body?.getReader();
    give("for Alice");
    assert.equal(new TextDecoder().decode((await reader?.read())?.value), "for Alice");
    const next = fails(reader?.read() ?? Promise.resolve(), "session_changed");
    change(api);
    give("also for Alice");
    await next;
    assert.notEqual(cancelled(), undefined, `${title}: the connection is let go`);
  }
});

test("what a POST did is told, also by raw and after the change", async () => {
  const { body, give, end } = parts();
  const api = browserClient({ ...setUp(me).options, fetch: tokens(async () => new Response(body)) });
  const response = await api.raw("/api/payments", { method: "POST" });
  api.forget();
  give('{"serial":1}');
  end();
  assert.deepEqual(await response.json(), { serial: 1 });
});

test("raw's answer is the one that came: status, headers, URL, and a clone of it", async () => {
  const server = createServer((request, answer) => {
    if (request.url === "/old") return void answer.writeHead(307, { location: "/file" }).end();
    answer.writeHead(request.url === "/none" ? 204 : 206, "Partial", { "content-type": "text/csv", etag: '"1"' }).end(request.url === "/none" ? undefined : "a,b");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const api = serverClient({ baseURL, cookie });
    const response = await api.raw("/old");
    const told = ({ status, statusText, url, redirected, type, ok }: Response) => [status, statusText, url, redirected, type, ok];
    assert.deepEqual(told(response), [206, "Partial", `${baseURL}/file`, true, "basic", true]);
    assert.equal(response.headers.get("etag"), '"1"');
    const copy = response.clone();
    assert.deepEqual(told(copy), told(response));
    assert.deepEqual([await copy.text(), (await response.blob()).type], ["a,b", "text/csv"]);
    assert.deepEqual([(await api.raw("/none")).status, (await api.raw("/none")).body], [204, null]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
