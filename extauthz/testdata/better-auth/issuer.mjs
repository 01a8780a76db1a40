// What a real Better Auth makes of each base URL of the input: a token of its jwt plugin, its key set, and where it serves that.
import { readFileSync } from "node:fs";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { bearer, jwt } from "better-auth/plugins";

const { urls, paths } = JSON.parse(readFileSync(process.env.EXTAUTHZ_TEST_INPUT, "utf8"));
const answers = [];
for (const { baseURL, basePath } of urls) {
  const auth = betterAuth({
    baseURL,
    basePath,
    secret: "a-secret-of-more-than-32-characters!",
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    emailAndPassword: { enabled: true },
    logger: { disabled: true },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    plugins: [jwt(), bearer()],
  });
  const session = await auth.api.signUpEmail({ body: { name: "Zoë Day", email: "zoe@example.com", password: "long-enough-password" } });
  const { token } = await auth.api.getToken({ headers: new Headers({ authorization: `Bearer ${session.token}` }) });
  const served = {};
  for (const path of paths) {
    const response = await auth.handler(new Request(new URL(baseURL).origin + path));
    const body = response.status === 200 ? await response.text() : "";
    if (body.includes('"keys"')) served[path] = body;
  }
  answers.push({ baseURL, origin: new URL(baseURL).origin, token, served });
}
console.log(JSON.stringify(answers));
