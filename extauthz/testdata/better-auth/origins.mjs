// Which origins of the input Better Auth's own matcher finds to fit which patterns: a line of 0 and 1 for each pattern.
import { readFileSync } from "node:fs";
const { matchesOriginPattern } = await import("./node_modules/better-auth/dist/auth/trusted-origins.mjs");

const { patterns, origins } = JSON.parse(readFileSync(process.env.EXTAUTHZ_TEST_INPUT, "utf8"));
console.log(JSON.stringify(patterns.map((pattern) => origins.map((origin) => (matchesOriginPattern(origin, pattern) ? "1" : "0")).join(""))));
