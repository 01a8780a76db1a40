import { currentSession } from "@/lib/session";
import { Identify } from "./identify";

/** Says in the browser whose page this is. Each page has one, also where nobody is signed in. */
export async function WhosePage() {
  const found = await currentSession();
  return <Identify session={found === null ? null : { id: found.session.id, userId: found.user.id }} />;
}
