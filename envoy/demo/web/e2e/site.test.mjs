// The front end in real Chromium, through real Envoy: `make test-web` starts all of it and runs this.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const site = process.env.SITE;
const otherOrigin = process.env.OTHER_ORIGIN;
const artefacts = process.env.ARTEFACTS;
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const secure = site.startsWith("https:");
const password = "correct horse battery";

let browser;
before(async () => {
  await mkdir(artefacts, { recursive: true });
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
});
after(() => browser?.close());

let serial = 0;
const person = (name = "Zoë Day") => ({ name, email: `user-${Date.now()}-${++serial}@example.com` });

/** A fresh profile, with what its pages complain of: console errors, exceptions, and violations of the content security policy. */
async function visitor(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const complaints = [];
  context.on("page", (page) => {
    page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
    page.on("console", (message) => {
      // A refused request is written there by the browser itself; the tests look at those for themselves.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
    });
  });
  if (options.javaScriptEnabled !== false) {
    await context.addInitScript(() => {
      globalThis.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
  }
  const page = await context.newPage();
  return { context, page, complaints };
}

async function wellBehaved({ page, complaints }) {
  assert.deepEqual(complaints, []);
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
}

/** A test by a visitor of its own, whose pages have nothing to complain of at its end. */
function visit(name, tour, options = {}) {
  test(name, async () => {
    const v = await visitor(options);
    try {
      await tour(v);
      if (options.javaScriptEnabled !== false) await wellBehaved(v);
    } finally {
      await v.context.close();
    }
  });
}

async function accessible(page, what) {
  await page.evaluate(await readFile(axe, "utf8")); // not as a script of the page's, which its policy would refuse
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(
    violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map((node) => node.target).join(", ")}`),
    [],
  );
}

async function signUp(page, who = person()) {
  await page.goto(`${site}/sign-up`);
  await page.getByLabel("Name").fill(who.name);
  await page.getByLabel("E-mail").fill(who.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign up" }).click();
  await page.getByRole("heading", { name: "What the backend saw" }).waitFor();
  return who;
}

async function control(path, body = {}) {
  const response = await fetch(process.env.CONTROL + path, { method: "POST", body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.text());
}

const browserCall = (page, state) => page.locator(`#browser-call[data-state="${state}"]`).waitFor();
const callAgain = (page) => page.getByRole("button", { name: "Call again" }).click();

visit("sign up, see both calls, reload, sign out", async (v) => {
  const { page } = v;
  await page.goto(site);
  await page.getByRole("heading", { name: "Nobody is signed in" }).waitFor();
  await page.getByRole("link", { name: "Sign up" }).click();
  await page.waitForURL(`${site}/sign-up`);
  const who = await signUp(page);
  for (const round of ["at first", "after a reload"]) {
    await browserCall(page, "seen");
    const browserTable = await page.locator("#browser-call").innerText();
    const serverTable = await page.locator("#server-call").innerText();
    for (const table of [browserTable, serverTable]) {
      assert.ok(table.includes(who.name) && table.includes(who.email), `${round}: ${table}`);
      assert.match(table, /The check took\s+(less than 1|\d+) ms/, round);
      assert.match(table, /Expires\s+\d+ \w+ \d{4}, \d\d:\d\d:\d\d UTC/, round);
    }
    assert.ok(browserTable.includes("JWT, by a key of the JWKS"), browserTable);
    assert.ok(serverTable.includes("session, by its row in PostgreSQL"), serverTable);
    if (round === "at first") await page.reload();
  }
  const cookies = await v.context.cookies();
  const session = cookies.find(({ name }) => name === `${secure ? "__Secure-" : ""}better-auth.session_token`);
  assert.deepEqual([session?.httpOnly, session?.secure, session?.sameSite], [true, secure, "Lax"]);
  await wellBehaved(v);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Nobody is signed in" }).waitFor();
});

visit("headers for browsers", async (v) => {
  const response = await v.page.goto(site);
  const headers = response.headers();
  const nonce = /'nonce-([^']+)'/.exec(headers["content-security-policy"])?.[1];
  assert.ok(nonce && headers["content-security-policy"].includes("frame-ancestors 'none'"), headers["content-security-policy"]);
  const again = (await v.page.goto(site)).headers();
  assert.ok(!again["content-security-policy"].includes(nonce), "the nonce is another for each page");
  assert.equal(headers["strict-transport-security"], secure ? "max-age=31536000" : undefined);
  const api = await v.page.request.get(`${site}/api/me`);
  assert.equal(api.status(), 401);
  for (const [name, value] of [["x-content-type-options", "nosniff"], ["referrer-policy", "strict-origin-when-cross-origin"], ["cross-origin-opener-policy", "same-origin"]]) {
    assert.equal(headers[name], value);
    assert.equal(api.headers()[name], value);
  }
  assert.equal(headers["x-powered-by"], undefined);
});

visit("a sign-out in one tab ends the other's calls at once", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  const second = await v.context.newPage();
  await second.goto(site);
  await browserCall(second, "seen");
  await second.getByRole("button", { name: "Sign out" }).click();
  await second.getByRole("heading", { name: "Nobody is signed in" }).waitFor();
  await page.getByRole("heading", { name: "Nobody is signed in" }).waitFor(); // without a click
});

visit("a token is renewed a minute before its end, and once", async (v) => {
  const { page } = v;
  await page.clock.install();
  let tokens = 0;
  page.on("request", (request) => {
    if (new URL(request.url()).pathname === "/api/auth/token") tokens++;
  });
  await signUp(page);
  await page.clock.runFor(1000);
  await browserCall(page, "seen");
  assert.equal(tokens, 1);
  await callAgain(page);
  await browserCall(page, "seen");
  assert.equal(tokens, 1, "a token is kept");
  await page.clock.fastForward("14:30");
  await callAgain(page);
  await page.waitForResponse((response) => new URL(response.url()).pathname === "/api/headers");
  await browserCall(page, "seen");
  assert.equal(tokens, 2, "and renewed before its end");
});

visit("an expired session is a sign-out", async (v) => {
  const { page } = v;
  const who = await signUp(page);
  await browserCall(page, "seen");
  await control("/sessions/expire", { email: who.email });
  await page.reload();
  await page.getByRole("heading", { name: "Nobody is signed in" }).waitFor();
});

visit("an outage of the check is shown as one, and nobody is signed out by it", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  await control("/extauthz/stop");
  try {
    await callAgain(page);
    await browserCall(page, "outage");
    assert.match(await page.locator("#browser-call").innerText(), /You are still signed in/);
    await page.reload();
    await page.locator('#server-call[data-state="outage"]').waitFor();
    await page.getByRole("button", { name: "Sign out" }).waitFor(); // still signed in
    await browserCall(page, "outage");
    await accessible(page, "outage");
    await page.screenshot({ path: `${artefacts}/outage.png`, fullPage: true });
    await page.screenshot({ path: `${artefacts}/web-outage.jpg`, type: "jpeg", quality: 60, clip: { x: 0, y: 60, width: 1280, height: 420 } }); // for docs/
  } finally {
    await control("/extauthz/start");
  }
  await callAgain(page);
  await browserCall(page, "seen");
});

visit("a wrong password, an e-mail that is taken, a name that is missing", async (v) => {
  const { page } = v;
  const who = await signUp(page);
  await v.context.clearCookies();
  await page.goto(`${site}/sign-in`);
  await page.getByLabel("E-mail").fill(who.email);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  const alert = page.locator('form [role="alert"]');
  await alert.waitFor();
  assert.match(await alert.innerText(), /Invalid email or password/);
  assert.equal(await page.getByLabel("E-mail").inputValue(), who.email, "what was typed stays");
  assert.equal(await page.getByLabel("Password").inputValue(), "");
  await accessible(page, "sign-in with a fault");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "What the backend saw" }).waitFor();

  await v.context.clearCookies();
  await page.goto(`${site}/sign-up`);
  await page.getByLabel("Name").fill("Another");
  await page.getByLabel("E-mail").fill(who.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign up" }).click();
  await alert.waitFor();
  assert.match(await alert.innerText(), /already exists/i);
});

visit("names of any script reach the backend whole", async (v) => {
  await signUp(v.page, person("Søren 李 %41 & “O’Hara” 🦊"));
  await browserCall(v.page, "seen");
  for (const id of ["#browser-call", "#server-call"]) assert.ok((await v.page.locator(id).innerText()).includes("Søren 李 %41 & “O’Hara” 🦊"));
});

visit("the four attacks are refused, and explained", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  const id = /x-user-id\s+(\w+)/.exec(await page.locator("#browser-call").innerText())?.[1];
  for (const [button, status, body] of [
    ["forged", "401", '{"detail":"Invalid token"}'],
    ["spoofed", "200", `[["x-user-id","${id}"]]`],
    ["expired", "401", '{"detail":"Token has expired"}'],
    ["cross-site", "403", '{"detail":"Cross-site request refused"}'],
  ]) {
    await page.locator(`#${button}`).click();
    const outcome = page.locator(`#outcome[data-of="${button}"]`);
    await outcome.waitFor();
    assert.equal(await outcome.locator("strong").innerText(), status, button);
    assert.equal(await outcome.locator("code").innerText(), body, button);
    assert.ok((await outcome.innerText()).length > body.length + 60, "it is explained");
  }
  await accessible(page, "attacks");
});

visit("an API on another origin: the preflight is answered before the check, and only for this site", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  const call = (headers) =>
    page.evaluate(
      async ([url, headers]) => {
        const { token } = await (await fetch("/api/auth/token")).json();
        const response = await fetch(url, { headers: { ...headers, authorization: headers.authorization ?? `Bearer ${token}` } });
        return { status: response.status, body: await response.text() };
      },
      [`${otherOrigin}/api/me`, headers],
    );
  if (!secure) {
    // A page by https may not call an API by http, so this half is http's.
    const good = await call({});
    assert.equal(good.status, 200);
    assert.ok(good.body.includes("Zoë Day"), good.body);
    const bad = await call({ authorization: "Bearer forged" });
    assert.deepEqual(bad, { status: 401, body: '{"detail":"Invalid token"}' }, "a refusal can be read by the page, too");
  }
  for (const [origin, allowed] of [[site, site], ["https://evil.example.com", undefined]]) {
    const preflight = await page.request.fetch(`${otherOrigin}/api/me`, { method: "OPTIONS", headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" } });
    assert.equal(preflight.headers()["access-control-allow-origin"], allowed);
  }
});

visit("all of it without a script", async (v) => {
  const { page } = v;
  const who = await signUp(page);
  assert.ok((await page.locator("#server-call").innerText()).includes(who.email));
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Nobody is signed in" }).waitFor();
}, { javaScriptEnabled: false });

test("each page, in both colour schemes, on a desk and on a phone: accessible, no sideways scrolling", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [device, viewport] of [["desktop", { width: 1100, height: 800 }], ["phone", { width: 360, height: 740 }]]) {
      const v = await visitor({ colorScheme, viewport });
      const { page } = v;
      const look = async (name) => {
        await accessible(page, `${name}, ${colorScheme}, ${device}`);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} scrolls sideways on a ${device}`);
        await page.screenshot({ path: `${artefacts}/${name}-${colorScheme}-${device}.png`, fullPage: true });
      };
      await page.goto(site);
      await look("nobody");
      await page.goto(`${site}/sign-in`);
      await look("sign-in");
      await page.goto(`${site}/sign-up`);
      await look("sign-up");
      await signUp(page);
      await browserCall(page, "seen");
      await look("seen");
      if (colorScheme === "light" && device === "desktop") await page.screenshot({ path: `${artefacts}/web-seen.jpg`, type: "jpeg", quality: 60, fullPage: true }); // for docs/
      assert.equal((await page.goto(`${site}/nothing-here`)).status(), 404);
      await look("not-found");
      await v.context.close();
    }
  }
});

visit("everything can be reached by the keyboard", async (v) => {
  const { page } = v;
  await page.goto(`${site}/sign-in`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent?.trim()), "Skip to content");
  const reached = [];
  for (let i = 0; i < 6; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.trim()));
  }
  for (const wanted of ["email", "password", "Sign in", "Sign up"]) assert.ok(reached.includes(wanted), `${wanted} of ${reached}`);
});

// People navigate by links and buttons, so that one page's scripts live through a change of users.
async function fillIn(page, who, button) {
  if (who.name !== undefined && button === "Sign up") await page.getByLabel("Name").fill(who.name);
  await page.getByLabel("E-mail").fill(who.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: button }).click();
}

/** The e-mail that the backend saw of the browser's call. */
const seenByBrowser = async (page) => {
  await browserCall(page, "seen");
  return /x-user-email\s+(\S+)/.exec(await page.locator("#browser-call").innerText())?.[1];
};

visit("out as Alice, in as Bob, in one tab, by links and buttons: no call goes out as Alice any more", async (v) => {
  const { page } = v;
  const alice = await signUp(page, person("Alice"));
  assert.equal(await seenByBrowser(page), alice.email);
  await page.getByRole("button", { name: "Sign out" }).click();
  const bob = person("Bob");
  const asAlice = [];
  page.on("request", (request) => {
    const claims = request.headers().authorization?.split(".")[1];
    if (claims !== undefined && JSON.parse(Buffer.from(claims, "base64url").toString()).email === alice.email) asAlice.push(request.url());
  });
  await page.getByRole("link", { name: "Sign up" }).click();
  await page.waitForURL(`${site}/sign-up`);
  await fillIn(page, bob, "Sign up");
  await page.getByText(bob.email).first().waitFor();
  assert.equal(await seenByBrowser(page), bob.email);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in" }).first().click();
  await page.waitForURL(`${site}/sign-in`);
  await fillIn(page, bob, "Sign in");
  await page.locator("#browser-call").waitFor();
  assert.equal(await seenByBrowser(page), bob.email);
  assert.deepEqual(asAlice, []);
});

visit("out as Alice, in as Bob in another tab: the first becomes Bob's by itself", async (v) => {
  const { page } = v;
  const alice = await signUp(page, person("Alice"));
  assert.equal(await seenByBrowser(page), alice.email);
  const other = await v.context.newPage();
  await other.goto(site);
  assert.equal(await seenByBrowser(other), alice.email);
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByRole("link", { name: "Sign up" }).click();
  await other.waitForURL(`${site}/sign-up`);
  const bob = person("Bob");
  await fillIn(other, bob, "Sign up");
  await other.getByText(bob.email).first().waitFor();
  await page.getByText(bob.email).first().waitFor(); // without a click or a reload
  assert.equal(await seenByBrowser(page), bob.email);
  await callAgain(page);
  assert.equal(await seenByBrowser(page), bob.email);
});
