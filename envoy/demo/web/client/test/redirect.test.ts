import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { browserClient, serverClient } from "extauthz-api-client";
import { fails, jwt, minute } from "./setup.js";

/** Real servers, for what a fetch does with a redirect no function imitates. */
async function serve(...listeners: RequestListener[]) {
  const servers = listeners.map((listener) => createServer(listener).listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => server.listening || once(server, "listening")));
  const origins = servers.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const close = () => {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  };
  return { origins: origins as [string, ...string[]], close };
}

const json = (answer: Parameters<RequestListener>[1], status: number, value: unknown) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));

test("a base URL that leads on to another origin signs nobody out, and brings no credential there", async () => {
  const arrived: (string | undefined)[] = [];
  // As a site that redirects http to https: the check refuses what comes without a credential.
  const target = await serve((request, answer) => {
    arrived.push(request.headers.authorization);
    json(answer, 401, { detail: "Not authenticated: Missing Authorization header" });
  });
  let posted = 0;
  const old = await serve((request, answer) => {
    if (request.url === "/api/auth/token") return void json(answer, 200, { token: jwt(Date.now() + 15 * minute) });
    if (request.method === "POST") posted++;
    answer.writeHead(307, { location: target.origins[0] + request.url }).end();
  });
  try {
    const [baseURL] = old.origins;
    for (const api of [serverClient({ baseURL, cookie: () => "better-auth.session_token=x" }), browserClient({ baseURL, tokenURL: `${baseURL}/api/auth/token` })]) {
      for (const call of [() => api.get("/api/me"), () => api.raw("/api/me"), () => api.post("/api/payments", {})]) {
        const error = await fails(call(), "foreign_url");
        assert.deepEqual([error.isSignedOut, error.isOutage, error.status], [false, false, 0]);
        assert.ok(error.detail.includes(target.origins[0]), error.detail);
      }
    }
    assert.ok(arrived.length > 0 && arrived.every((authorization) => authorization === undefined), String(arrived));
    assert.equal(posted, 2, "one for each client");
  } finally {
    old.close();
    target.close();
  }
});

test("a download that the API keeps elsewhere comes, and an address of its own that has moved is followed", async () => {
  const store = await serve((_, answer) => answer.end("a file"));
  const api = await serve((request, answer) => {
    if (request.url === "/api/users/") return void json(answer, 200, { authorization: request.headers.authorization });
    answer.writeHead(307, { location: request.url === "/api/users" ? "/api/users/" : `${store.origins[0]}/bucket/file?signature=x` }).end();
  });
  try {
    const client = serverClient({ baseURL: api.origins[0], cookie: () => "better-auth.session_token=x" });
    assert.equal(await (await client.raw("/api/export.pdf")).text(), "a file");
    assert.deepEqual(await client.get("/api/users"), { authorization: "Bearer x" });
  } finally {
    api.close();
    store.close();
  }
});
