import { createAuthClient } from "better-auth/react";
import { jwtClient } from "better-auth/client/plugins";

/** Better Auth in the browser, on the page's own origin. */
export const authClient = createAuthClient({ plugins: [jwtClient()] });
