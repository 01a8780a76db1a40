import { ApiError } from "extauthz-api-client";
import { type Header, type Seen, seenOf } from "./seen";

/** What came of a call of /api/headers. */
export type CallState = { is: "loading" } | { is: "seen"; seen: Seen } | { is: "signed-out" } | { is: "outage" } | { is: "failed"; detail: string };

/** The state that a call ends in. A fault that is no answer's is thrown on. */
export function stateOf(call: Promise<Header[] | undefined>): Promise<CallState> {
  return call.then(
    (all): CallState => ({ is: "seen", seen: seenOf(all ?? []) }),
    (error: unknown): CallState => {
      if (!(error instanceof ApiError)) throw error;
      if (error.isSignedOut) return { is: "signed-out" };
      return error.isOutage ? { is: "outage" } : { is: "failed", detail: error.detail };
    },
  );
}
