import { browserClient } from "extauthz-api-client";

/** The page's one client for the API, so that its parts share a token. */
export const api = browserClient({ retries: 1 });
