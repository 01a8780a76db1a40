// What the pages say of an answer, by functions without a page.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import ts from "typescript";

/** A module of the front end that imports nothing. */
async function load(name) {
  const source = await readFile(new URL(`../lib/${name}.ts`, import.meta.url), "utf8");
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } });
  return import(`data:text/javascript,${encodeURIComponent(outputText)}`);
}
const { outageOf, refusal, staysOneself } = await load("verdicts");
const { faultOf } = await load("faults");
const { inWords, seenOf } = await load("seen");

for (const [status, verdict] of [[401, "held"], [200, "broken"], [204, "broken"], [403, "broken"], [404, "broken"], [503, "open"], [502, "open"], [0, "open"]]) {
  test(`an attack that should be 401 and is ${status}: ${verdict}`, () => assert.equal(refusal(401)({ status, body: "" }).is, verdict));
}

for (const [title, outcome, verdict] of [
  ["the caller's id", { status: 200, body: '[["x-user-id","u-1"],["x-user-name","Zo%C3%AB"]]' }, "held"],
  ["admin", { status: 200, body: '[["x-user-id","admin"]]' }, "broken"],
  ["both", { status: 200, body: '[["x-user-id","u-1"],["x-user-id","admin"]]' }, "broken"],
  ["both, in two spellings", { status: 200, body: '[["x-user-id","u-1"],["x_user_id","admin"]]' }, "broken"],
  ["none", { status: 200, body: "[]" }, "broken"],
  ["what cannot be read", { status: 200, body: "<html>" }, "broken"],
  ["a refusal", { status: 401, body: "" }, "broken"],
  ["an outage", { status: 503, body: "" }, "open"],
]) {
  test(`a spoofed id whose backend got ${title}: ${verdict}`, () => assert.equal(staysOneself("u-1", "Zoë")(outcome).is, verdict));
}

for (const [title, answers, verdict] of [
  ["is back after ten seconds", [[503, 400], [503, 9_000], [200, 10_400]], "held"],
  ["lets a call pass at once", [[200, 30]], "broken"],
  ["lets a call pass in the middle", [[503, 400], [200, 3_000]], "broken"],
  ["signs somebody out", [[503, 400], [401, 3_000]], "broken"],
  ["signs somebody out at its end", [[503, 400], [401, 10_400]], "broken"],
  ["goes on", [[503, 400], [0, 6_000], [503, 11_000]], undefined],
  ["was not seen", [[200, 10_400]], undefined],
]) {
  const during = answers.map(([status, after]) => ({ status, after }));
  test(`an outage that ${title}: ${verdict}`, () => assert.equal(outageOf(during)?.is, verdict));
}

for (const [failure, wait, expected] of [
  [{ status: 401, code: "INVALID_EMAIL_OR_PASSWORD", message: "Invalid email or password" }, null, /Wrong e-mail address or password/],
  [{ status: 400, code: "INVALID_EMAIL", message: "Invalid email" }, null, /no e-mail address/],
  [{ status: 400, code: "VALIDATION_ERROR", message: "[body.email] Invalid email address" }, null, /no e-mail address/],
  [{ status: 422, code: "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", message: "User already exists." }, null, /already an account/],
  [{ status: 429, message: "Too many requests." }, "7", /in 7 seconds/],
  [{ status: 429 }, null, /in a moment/],
  [{ status: 503, code: "UNAVAILABLE" }, null, /just now/],
  [{ status: 500 }, null, /just now/],
  [{}, null, /just now/],
  [{ status: 400, message: "Something else" }, null, /^Something else\.$/],
]) {
  test(`${JSON.stringify(failure)} is told as ${expected}`, () => assert.match(faultOf(failure, wait).text, expected));
}

for (const [seconds, expected] of [[0, "now"], [30, "in 30 seconds"], [900, "in 15 minutes"], [895, "in 15 minutes"], [3600, "in 1 hour"], [604_795, "in 7 days"], [-61, "1 minute ago"], [86_400, "tomorrow"]]) {
  test(`${seconds} seconds from now are "${expected}"`, () => assert.equal(inWords(seconds * 1000, 0), expected));
}

test("a header that is not percent-encoded is shown as it stands", () => {
  assert.deepEqual(seenOf([["x-user-name", "100 % Zo\u00eb"], ["x-user-email", "a%40b"], ["accept", "%"]]).headers, [["x-user-name", "100 % Zo\u00eb"], ["x-user-email", "a@b"]]);
});
