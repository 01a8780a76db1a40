import { toNextJsHandler } from "better-auth/next-js";
import { auth, DatabaseAway, migrated } from "@/lib/auth";

async function handle(request: Request): Promise<Response> {
  try {
    await migrated();
  } catch (error) {
    if (!(error instanceof DatabaseAway)) throw error;
    return Response.json({ message: "The database is away. Try again in a moment.", code: "UNAVAILABLE" }, { status: 503, headers: { "retry-after": "1", "cache-control": "no-store" } });
  }
  const { GET, POST } = toNextJsHandler(auth());
  return request.method === "GET" ? GET(request) : POST(request);
}

export { handle as GET, handle as POST };
