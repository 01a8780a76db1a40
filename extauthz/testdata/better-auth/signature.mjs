// Whether Better Auth's bearer plugin takes a session token in each of several spellings, with requireSignature and without.
import { createHmac } from "node:crypto";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { bearer } from "better-auth/plugins";

const secret = "a-secret-of-more-than-32-characters!";
const sign = (token, key) => `${token}.${createHmac("sha256", key).update(token).digest("base64")}`;
const answers = [];
for (const requireSignature of [true, false]) {
  const auth = betterAuth({
    baseURL: "https://app.example.com",
    secret,
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    emailAndPassword: { enabled: true },
    logger: { disabled: true },
    telemetry: { enabled: false },
    plugins: [bearer({ requireSignature })],
  });
  const { token } = await auth.api.signUpEmail({ body: { name: "Zoë Day", email: "zoe@example.com", password: "long-enough-password" } });
  const spellings = {
    raw: token,
    signed: sign(token, secret),
    "signed, percent-encoded": encodeURIComponent(sign(token, secret)),
    "signed by another secret": sign(token, "another-secret-of-more-than-32-characters"),
    "under another's signature": token + sign("x" + token.slice(1), secret).slice(token.length),
  };
  for (const [title, text] of Object.entries(spellings)) {
    const session = await auth.api.getSession({ headers: new Headers({ authorization: `Bearer ${text}` }) });
    answers.push({ requireSignature, title, token, text, allowed: session !== null });
  }
}
console.log(JSON.stringify(answers));
