// The front end in real Chromium, through real Envoy: `make test-web` starts all of it and runs this.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium, request as playwright } from "playwright-core";

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
  // A page that the server could not make is told by React, too; that it is shown is what the tests look at.
  assert.deepEqual(complaints.filter((text) => !text.includes("react.dev/errors/441")), []);
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

/** A cell of the one table: what the backend got under this name of the browser's or the server's call. */
const cell = (page, name, of = "browser") => page.locator("#comparison tr", { has: page.locator(`code:text-is("${name}")`) }).locator(`td[data-of="${of}"]`);
// While React puts streamed parts in their places, one may be there twice for a moment.
const serverCall = (page, state) => page.locator(`#server-call[data-state="${state}"]`).first().waitFor({ state: "attached" });
const browserCall = (page, state) => page.locator(`#browser-call[data-state="${state}"]`).first().waitFor({ state: "attached" });
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
    await serverCall(page, "seen");
    for (const of of ["browser", "server"]) {
      assert.equal(await cell(page, "x-user-name", of).innerText(), who.name, `${round}, ${of}`);
      assert.equal(await cell(page, "x-user-email", of).innerText(), who.email, `${round}, ${of}`);
      assert.match(await page.locator(`#comparison tr:last-child td[data-of="${of}"]`).innerText(), /^(less than 1|\d+) ms$/, round);
    }
    assert.equal(await cell(page, "x-auth-method").innerText(), "JWT, by a key of the JWKS");
    assert.equal(await cell(page, "x-auth-method", "server").innerText(), "session, by its row in PostgreSQL");
    assert.match(await cell(page, "x-auth-expires-at").innerText(), /^in 1[45] minutes$/);
    assert.equal(await cell(page, "x-auth-expires-at", "server").innerText(), "in 7 days");
    assert.match((await cell(page, "x-auth-expires-at").locator("time").getAttribute("title")) ?? "", /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
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
  const answered = page.waitForResponse((response) => new URL(response.url()).pathname === "/api/headers"); // which may be there before the click is over
  await callAgain(page);
  await answered;
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
    await serverCall(page, "outage");
    await page.getByRole("button", { name: "Sign out" }).waitFor(); // still signed in
    await browserCall(page, "outage");
    await accessible(page, "outage");
    await page.screenshot({ path: `${artefacts}/outage.png`, fullPage: true });
    await page.screenshot({ path: `${artefacts}/web-outage.jpg`, type: "jpeg", quality: 60, fullPage: true }); // for docs/
  } finally {
    await control("/extauthz/start");
  }
  await callAgain(page);
  await browserCall(page, "seen");
});

/** A form's fault, and the fields that it marks. */
async function faultOf(page, text) {
  const alert = page.locator("#fault", { hasText: text });
  await alert.waitFor();
  assert.equal(await alert.getAttribute("role"), "alert");
  return page.evaluate(() => ({ marked: [...document.querySelectorAll('[aria-invalid="true"]')].map(({ id }) => id), focus: document.activeElement?.id || document.activeElement?.textContent }));
}

visit("a wrong password, an e-mail that is taken or none, a name that is missing", async (v) => {
  const { page } = v;
  const who = await signUp(page);
  await v.context.clearCookies();
  await page.goto(`${site}/sign-in`);
  await page.getByLabel("E-mail").fill(who.email);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  assert.deepEqual(await faultOf(page, /Wrong e-mail address or password/), { marked: ["password"], focus: "password" });
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
  assert.deepEqual(await faultOf(page, /already an account/), { marked: ["email"], focus: "email" });
  await page.getByLabel("E-mail").fill("name@host"); // which a browser takes for an address
  await page.getByRole("button", { name: "Sign up" }).click();
  assert.deepEqual(await faultOf(page, /no e-mail address/), { marked: ["email"], focus: "email" });
  assert.deepEqual(await Promise.all(["Name", "E-mail", "Password"].map((label) => page.getByLabel(label).inputValue())), ["Another", "name@host", password]);
  await page.getByLabel("Name").fill("   ");
  await page.getByRole("button", { name: "Sign up" }).click();
  assert.deepEqual(await faultOf(page, /Enter your name/), { marked: ["name"], focus: "name" });
});

visit("names of any script reach the backend whole", async (v) => {
  await signUp(v.page, person("Søren 李 %41 & “O’Hara” 🦊"));
  await browserCall(v.page, "seen");
  await serverCall(v.page, "seen");
  for (const of of ["browser", "server"]) assert.equal(await cell(v.page, "x-user-name", of).innerText(), "Søren 李 %41 & “O’Hara” 🦊");
});

visit("each attack gets the verdict that its answer deserves", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  const id = await cell(page, "x-user-id").innerText();
  const tried = async (button, verdict) => {
    await page.locator(`#${button}`).click();
    const outcome = page.locator(`#outcome[data-of="${button}"][data-verdict="${verdict}"]`);
    await outcome.waitFor();
    return [await outcome.locator(".verdict").innerText(), await outcome.locator("strong").innerText(), await outcome.locator("code").innerText()];
  };
  for (const [button, verdict, status, body] of [
    ["spoofed", "You stayed Zoë Day, not admin.", "200", `[["x-user-id","${id}"]]`],
    ["forged", "Refused, as it should be.", "401", '{"detail":"Invalid token"}'],
    ["expired", "Refused, as it should be.", "401", '{"detail":"Token has expired"}'],
    ["cross-site", "Refused, as it should be.", "403", '{"detail":"Cross-site request refused"}'],
  ]) {
    assert.deepEqual(await tried(button, "held"), [verdict, status, body], button);
  }
  await accessible(page, "attacks");
  // A backend that believed the client is told as that, and an outage as none.
  await page.route("**/api/headers", (route) => route.fulfill({ json: [["x-user-id", "admin"]] }));
  assert.equal((await tried("spoofed", "broken"))[0], "The backend took you for admin.");
  await page.unrouteAll();
  await control("/extauthz/stop");
  try {
    assert.match((await tried("forged", "open"))[0], /The check is away/);
  } finally {
    await control("/extauthz/start");
  }
});

visit("the switch stops the real extauthz for ten seconds, and nobody is signed out", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  await page.getByRole("button", { name: "Stop extauthz for ten seconds" }).click();
  await page.locator("#outage-switch .statuses .open", { hasText: "503" }).first().waitFor();
  await callAgain(page);
  await browserCall(page, "outage");
  await page.locator('#outage-switch[data-state="over"]').waitFor();
  await callAgain(page);
  await browserCall(page, "seen");
});

visit("who finds the switch used by somebody else is told so, and when it is theirs", async (v) => {
  const other = await visitor();
  try {
    for (const { page } of [v, other]) {
      await signUp(page);
      await browserCall(page, "seen");
    }
    await other.page.getByRole("button", { name: "Stop extauthz for ten seconds" }).click();
    await other.page.locator("#outage-switch .statuses .open", { hasText: "503" }).first().waitFor();
    await v.page.getByRole("button", { name: "Stop extauthz for ten seconds" }).click();
    await v.page.getByText("Somebody else has stopped extauthz already").waitFor();
    await v.page.locator("#outage-switch .statuses .open", { hasText: "503" }).first().waitFor();
    await v.page.getByText("Somebody else had stopped extauthz. It is back").waitFor();
    await other.page.getByText("It is back, and you are still signed in. Nobody passed meanwhile.").waitFor();
  } finally {
    await other.context.close();
  }
  await v.context.clearCookies(); // a sign-out that this page has not heard of
  await v.page.getByRole("button", { name: "Stop extauthz for ten seconds" }).click();
  await v.page.getByText("You are signed out, so nothing was stopped.").waitFor();
});

visit("one click makes a demo user", async (v) => {
  const { page } = v;
  await page.goto(site);
  await page.getByRole("button", { name: "Look around as a demo user" }).click();
  await browserCall(page, "seen");
  assert.equal(await cell(page, "x-user-name").innerText(), "Zoë Demo");
});

visit("PostgreSQL is down when the token is renewed, and at a sign-out: nobody is told that they are signed out", async (v) => {
  const { page } = v;
  await page.clock.install();
  const who = await signUp(page);
  await page.clock.runFor(1000);
  await browserCall(page, "seen");
  await page.clock.fastForward("14:30");
  await control("/postgres/stop");
  try {
    await callAgain(page);
    await browserCall(page, "outage");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByText("are still signed in. Try again in a moment.").first().waitFor();
    await page.goto(site).catch(() => {});
    await page.getByRole("heading", { name: "This page could not be made" }).waitFor();
  } finally {
    await control("/postgres/start");
  }
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { name: "What the backend saw" }).waitFor();
  await page.clock.runFor(1000);
  await browserCall(page, "seen");
  assert.equal(await cell(page, "x-user-email").innerText(), who.email);
});

visit("a database that is away when the front end starts is waited for", async (v) => {
  const { page } = v;
  await control("/postgres/stop");
  try {
    await control("/web/restart");
    await page.goto(`${site}/sign-up`);
    await page.getByLabel("Name").fill("Zoë Day");
    await page.getByLabel("E-mail").fill(person().email);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign up" }).click();
    await faultOf(page, /cannot be done just now/);
    assert.equal(await page.getByLabel("Password").inputValue(), password, "nothing is lost");
  } finally {
    await control("/postgres/start");
  }
  await page.waitForTimeout(1100); // a try a second
  await page.getByRole("button", { name: "Sign up" }).click();
  await browserCall(page, "seen");
});

visit("a payment is posted once, and a foreign URL gets no token", async (v) => {
  const { page } = v;
  await signUp(page);
  await browserCall(page, "seen");
  // As the page's own client does; it is not the page's to hand out, so its package is loaded into the page.
  const client = await readFile(new URL("../client/dist/index.js", import.meta.url), "utf8");
  const source = client.replace(/^export \{.*\};?$/ms, "globalThis.made = { browserClient };");
  await page.evaluate(source);
  const posted = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/api/payments")) posted.push(request.method());
  });
  const pay = (faults) =>
    page.evaluate(async (faults) => {
      let left = faults.count;
      const fetched = async (input, init) => {
        const response = await fetch(input, init);
        if (!String(input).includes("/payments") || left-- <= 0) return response;
        // The answer is lost behind Envoy, after the backend has done it.
        return new Response("upstream connect error or disconnect/reset before headers", { status: 503 });
      };
      const api = globalThis.made.browserClient({ fetch: fetched, sleep: async () => {} });
      return api.post("/api/payments", {}).then((value) => ({ serial: value.serial }), (error) => ({ code: error.code, isOutage: error.isOutage }));
    }, faults);
  const { serial } = await pay({ count: 0 });
  assert.deepEqual(await pay({ count: 1 }), { code: "unavailable", isOutage: true });
  assert.equal((await pay({ count: 0 })).serial, serial + 2, "the lost one was done once");
  assert.equal(posted.length, 3);
  // A token that the check refuses is renewed, and the payment made once; the check's word from a backend, which has made it, is not repeated.
  const refusedOnce = await page.evaluate(async () => {
    let tokens = 0;
    const fetched = async (input, init) => {
      const response = await fetch(input, init);
      if (!String(input).includes("/token") || tokens++ > 0) return response;
      const { token } = await response.json();
      return Response.json({ token: `${token.slice(0, token.lastIndexOf("."))}.${"A".repeat(86)}` });
    };
    const { serial } = await globalThis.made.browserClient({ fetch: fetched }).post("/api/payments", {});
    return { serial, tokens };
  });
  assert.deepEqual(refusedOnce, { serial: serial + 3, tokens: 2 });
  const relayed = await page.evaluate(async () => {
    const fetched = async (input, init) => {
      const response = await fetch(input, init);
      return String(input).includes("/payments") ? Response.json({ detail: "Token has expired" }, { status: 401, headers: response.headers }) : response;
    };
    return globalThis.made.browserClient({ fetch: fetched }).post("/api/payments", {}).catch((error) => error.status);
  });
  assert.equal(relayed, 401);
  assert.equal((await pay({ count: 0 })).serial, serial + 5, "it was done once");
  await control("/extauthz/stop");
  try {
    const outcome = await page.evaluate(() => globalThis.made.browserClient({ sleep: async () => {} }).post("/api/payments", {}).catch((error) => error.isOutage));
    assert.equal(outcome, true);
  } finally {
    await control("/extauthz/start");
  }
  assert.equal((await pay({ count: 0 })).serial, serial + 6, "no payment was made in the outage");
  const downloaded = await page.evaluate(async () => {
    const api = globalThis.made.browserClient();
    const file = await api.raw("/api/headers");
    const whole = [file.url === new URL("/api/headers", location.href).href, (await file.clone().json()).length > 5, (await file.blob()).type];
    const late = await api.raw("/api/headers");
    api.forget();
    return [...whole, await late.text().catch((error) => error.code)];
  });
  assert.deepEqual(downloaded, [true, true, "application/json", "session_changed"], "a download ends with its session");
  for (const foreign of ["//evil.example/x", "/\\evil.example/x", "https://evil.example/x"]) {
    assert.equal(await page.evaluate((url) => globalThis.made.browserClient().get(url).catch((error) => error.code), foreign), "foreign_url");
  }
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

test("without a script the pages say that they need one", async () => {
  // Playwright's browser without scripts still reads noscript as text, so the answer itself is looked at.
  const request = await playwright.newContext({ ignoreHTTPSErrors: true });
  for (const path of ["/", "/sign-in", "/sign-up"]) {
    assert.match(await (await request.get(site + path)).text(), /<noscript><p class="outage">These pages need JavaScript/, path);
  }
  await request.dispose();
});

visit("a name of 120 letters fits a phone", async (v) => {
  const { page } = v;
  await signUp(page, person("W".repeat(120)));
  await browserCall(page, "seen");
  await serverCall(page, "seen");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page scrolls sideways");
}, { viewport: { width: 390, height: 844 } });

visit("every answer has a content security policy", async (v) => {
  const files = [];
  v.page.on("response", (response) => files.push(response));
  await v.page.goto(site);
  for (const path of ["/api/me", "/api/auth/ok", "/api/auth/get-session", "/nothing-here", "/icon.svg", "/sign-in"]) files.push(await v.page.request.get(site + path));
  assert.ok(files.length > 8);
  for (const response of files) assert.match(response.headers()["content-security-policy"] ?? "", /frame-ancestors 'none'/, response.url());
});

test("each page, in both colour schemes, on a desk and on a phone: accessible, no sideways scrolling", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [device, viewport] of [["desktop", { width: 1100, height: 800 }], ["phone", { width: 390, height: 844 }]]) {
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
      await serverCall(page, "seen");
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
  return cell(page, "x-user-email").innerText();
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
  await page.getByText(bob.email).first().waitFor();
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

visit("a page's worker hears of the other session, too", async (v) => {
  const { page } = v;
  const client = (await readFile(new URL("../client/dist/index.js", import.meta.url), "utf8")).replace(/^export \{.*\};?$/ms, "");
  const worker = `${client}; const api = browserClient(); onmessage = async () => postMessage(await api.get("/api/me").then((me) => me.email, (error) => error.code));`;
  await v.context.route(`${site}/worker-of-a-test.js`, (route) => route.fulfill({ contentType: "text/javascript", body: worker }));
  const alice = await signUp(page, person("Alice"));
  assert.equal(await seenByBrowser(page), alice.email);
  await page.evaluate(() => {
    const worker = new Worker("/worker-of-a-test.js");
    globalThis.askWorker = () =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(`worker: ${message}`));
        worker.postMessage("go");
      });
  });
  assert.equal(await page.evaluate(() => globalThis.askWorker()), alice.email);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign up" }).click();
  await page.waitForURL(`${site}/sign-up`);
  const bob = person("Bob");
  await fillIn(page, bob, "Sign up");
  assert.equal(await seenByBrowser(page), bob.email);
  assert.equal(await page.evaluate(() => globalThis.askWorker()), bob.email);
});

visit("thirty wrong passwords meet Better Auth's own limit", async (v) => {
  const { page } = v;
  const who = await signUp(page);
  await v.context.clearCookies();
  await page.goto(`${site}/sign-in`);
  const statuses = [];
  for (let i = 0; i < 30; i++) {
    await page.getByLabel("E-mail").fill(who.email);
    await page.getByLabel("Password").fill(`guess number ${i}`);
    const answered = page.waitForResponse((response) => response.url().endsWith("/api/auth/sign-in/email"));
    await page.getByRole("button", { name: "Sign in" }).click();
    statuses.push((await answered).status());
  }
  assert.ok(statuses.filter((status) => status === 401).length <= 12, String(statuses)); // three in ten seconds
  assert.ok(statuses.filter((status) => status === 429).length >= 18, String(statuses));
  await faultOf(page, /Too many attempts\. Try again in \d+ seconds/);
  await page.waitForTimeout(11_000);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "What the backend saw" }).waitFor();
});
