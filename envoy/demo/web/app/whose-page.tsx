import { unstable_rethrow } from "next/navigation";
import { currentSession } from "@/lib/session";
import { Identify } from "./identify";

/** Says in the browser whose page this is. Each page has one, also where nobody is signed in. While it cannot be known, nothing is said. */
export async function WhosePage() {
  let found: Awaited<ReturnType<typeof currentSession>>;
  try {
    found = await currentSession();
  } catch (error) {
    unstable_rethrow(error); // Next.js's own
    return null;
  }
  return <Identify session={found === null ? null : { id: found.session.id, userId: found.user.id }} />;
}
