import { createAuthClient } from "better-auth/react";
import { jwtClient } from "better-auth/client/plugins";
import { api } from "./api";

/** Better Auth in the browser, on the page's own origin. What it changes, a sign-in or a sign-out, makes the API's client forget its token. */
export const authClient = createAuthClient({ plugins: [jwtClient(), api.authPlugin], fetchOptions: { timeout: 10_000 } });

export const { signIn, signOut, signUp, useSession } = authClient;
