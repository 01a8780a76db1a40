// A new project of Next.js's own generator that took the client in by its README alone (fresh/assemble.mjs), on one origin with the API.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const site = process.env.SITE;
const folder = process.env.FRESH;
const skip = site.startsWith("https:") || folder === undefined; // the project's own server speaks http
const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

let next;
let proxy;
let browser;
let origin;

before(async () => {
  if (skip) return;
  const probe = createServer();
  const port = await listen(probe);
  await new Promise((resolve) => probe.close(resolve));
  next = spawn(process.execPath, ["node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port", String(port)], {
    cwd: folder,
    env: { ...process.env, API_URL: site, NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" },
    stdio: ["ignore", "inherit", "inherit"],
  });
  // One origin, as Envoy gives it: what is below /api/ is Envoy's, the rest the project's.
  proxy = createServer((incoming, answer) => {
    const to = incoming.url.startsWith("/api/") ? new URL(site) : { hostname: "127.0.0.1", port };
    const headers = { ...incoming.headers };
    delete headers.origin;
    const outgoing = request({ hostname: to.hostname, port: to.port, path: incoming.url, method: incoming.method, headers }, (got) => {
      const kept = incoming.url === "/api/me" ? { "cache-control": "private, max-age=3600" } : {}; // a backend may say so, and its browser believes it
      answer.writeHead(got.statusCode, { ...got.headers, ...kept });
      got.pipe(answer);
    });
    outgoing.on("error", () => answer.writeHead(502).end());
    incoming.pipe(outgoing);
  });
  origin = `http://localhost:${await listen(proxy)}`;
  for (let i = 0; ; i++) {
    if ((await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined))?.ok) break;
    assert.ok(i < 300 && next.exitCode === null, "next start does not answer");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  proxy?.closeAllConnections();
  proxy?.close();
  if (next !== undefined && next.exitCode === null) {
    next.kill();
    await new Promise((resolve) => next.once("exit", resolve));
  }
});

for (const path of ["/", "/copied"]) {
  test(`a new project calls the API through Envoy, from the browser and from the server: ${path}`, { skip }, async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const seen = async () => Object.fromEntries(await Promise.all(["server", "cached", "browser"].map(async (id) => [id, await page.locator(`#${id}`).innerText()])));
    const shows = async (values) => {
      await page.locator("#browser", { hasText: values.browser }).waitFor();
      assert.deepEqual(await seen(), values);
    };
    await page.goto(origin + path);
    await shows({ server: "unauthenticated", cached: "nobody", browser: "UNAUTHORIZED" });
    for (const name of ["alice", "bob"]) {
      const email = `${name}-${Date.now()}@example.com`;
      // Signed up at the site, whose cookie is this host's, too: a browser minds no port.
      const response = await context.request.post(`${site}/api/auth/sign-up/email`, { data: { name, email, password: "correct horse battery" }, headers: { origin: site } });
      assert.equal(response.status(), 200, await response.text());
      for (let round = 0; round < 2; round++) {
        await page.goto(origin + path);
        await shows({ server: email, cached: email, browser: email }); // what was cached for Alice, by the server or the browser, is not Bob's
      }
    }
    await context.close();
  });
}
