/** What the server is told by its environment. It is checked once, when the server starts: see instrumentation.ts. */
export interface Env {
  /** The site's own address, as browsers see it: the issuer of its tokens. */
  baseURL: string;
  /** The audience of its tokens: the API's name. */
  audience: string;
  secret: string;
  databaseURL: string;
  /** Where the server reaches the API: Envoy, and not the backend behind it. */
  apiURL: string;
  /** Other origins at which pages call the API. */
  apiOrigins: string[];
  /** Better Auth's own limit of sign-ups for an address. Off in the demo, where everybody is one address. */
  signUpLimit: boolean;
  /** Where the demo stops extauthz for a while; undefined elsewhere. */
  demoControl: string | undefined;
}

let checked: Env | undefined;

export function env(): Env {
  if (checked !== undefined) return checked;
  const faults: string[] = [];
  const text = (name: string): string => {
    const value = process.env[name] ?? "";
    if (value === "") faults.push(`${name} is not set`);
    return value;
  };
  const url = (name: string): string => {
    const value = text(name);
    if (value !== "" && !/^https?:$/.test(URL.parse(value)?.protocol ?? "")) faults.push(`${name} is "${value}"; write a URL like https://app.example.com`);
    return value;
  };
  const found: Env = {
    baseURL: url("BETTER_AUTH_URL"),
    audience: text("API_AUDIENCE"),
    secret: text("BETTER_AUTH_SECRET"),
    databaseURL: text("DATABASE_URL"),
    apiURL: url("API_URL"),
    apiOrigins: (process.env.API_ORIGINS ?? "").split(",").filter((origin) => origin !== ""),
    signUpLimit: process.env.SIGN_UP_LIMIT !== "off",
    demoControl: process.env.DEMO_CONTROL || undefined,
  };
  if (found.secret !== "" && found.secret.length < 32) faults.push("BETTER_AUTH_SECRET is shorter than 32 characters");
  if (faults.length > 0) throw new Error(`environment: ${faults.join("; ")}`);
  return (checked = found);
}
