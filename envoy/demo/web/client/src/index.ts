/**
 * Two clients for an API behind Envoy and extauthz, for projects that use Better Auth. Nothing but `fetch` is needed.
 *
 * - {@link browserClient} sends the JWT that Better Auth gives at `/api/auth/token`. It lives in memory only, and belongs to one session.
 * - {@link serverClient} sends the session token of the cookie that came with the request that is being answered.
 *
 * Both tell an outage (503) from a refusal (401): an outage is tried again and never taken for a sign-out.
 */
export { type BrowserClient, browserClient, type BrowserClientOptions } from "./browser";
export { serverClient, type ServerClientOptions } from "./server";
export { ApiError, type Fault } from "./errors";
export type { ApiClient, ApiRequest, Parse } from "./request";
export type { PageSession } from "./token";
export { path } from "./url";
