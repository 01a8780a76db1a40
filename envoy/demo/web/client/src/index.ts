/**
 * Two clients for an API behind Envoy and extauthz, for projects that use Better Auth. Nothing but `fetch` is needed.
 *
 * - {@link browserClient} sends the JWT that Better Auth gives at `/api/auth/token`. It lives in memory only.
 * - {@link serverClient} sends the session token of the cookie that came with the request that is being answered.
 *
 * Both tell an outage (503) from a refusal (401): an outage is tried again and never taken for a sign-out.
 */
export { browserClient, type BrowserClientOptions } from "./browser.js";
export { serverClient, type ServerClientOptions } from "./server.js";
export { ApiError, type ApiClient, type ApiRequest } from "./request.js";
