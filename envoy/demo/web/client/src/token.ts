import { Deadline } from "./deadline";
import { ApiError } from "./errors";
import { failureOf, prepare, send, type Transport } from "./request";

/** Whose page it is, as the server knows that renders it. */
export interface PageSession {
  /** The session's id, and not its token: `session.session.id`. */
  id: string;
  /** The `sub` of the user's tokens: `session.user.id`, unless the jwt plugin has a `getSubject` of its own. */
  userId: string;
}

/** A token is renewed so long before its end, for the way and for a request that waits. Milliseconds. */
const renewBefore = 60_000;

/** How long a token may take. Milliseconds. It is nobody's call alone, so that no caller's time counts. */
const tokenTimeout = 10_000;

/**
 * The JWT of whoever is signed in, in memory and nowhere else. A token belongs to one session: what changes the session begins a new generation,
 * and nothing of an earlier one, a token or a fetch of one, is used in it.
 */
export class Tokens {
  generation = 0;
  private page: PageSession | null | undefined; // undefined until the page says
  private heard: string | null | undefined; // of other pages, where there is none of its own, as in a worker
  private held: { token: string; subject: unknown; until: number } | undefined;
  private fetching: Promise<string> | undefined;

  constructor(
    private readonly transport: () => Transport,
    private readonly tokenURL: string,
    private readonly sessionURL: string,
    private readonly now: () => number,
  ) {}

  /** Forgets the token: the next call fetches another. Calls that wait for one fail, for they were another's. */
  forget(): void {
    this.generation++;
    this.held = undefined;
    this.fetching = undefined;
  }

  /** Takes over whose page it is now, and tells whether that is another session than before. */
  identify(page: PageSession | null): boolean {
    const before = this.page;
    if (before !== undefined && before?.id === page?.id && before?.userId === page?.userId) return false;
    this.page = page;
    if (before !== undefined || (this.held !== undefined && this.held.subject !== page?.userId)) this.forget();
    return true;
  }

  /** Tells whether a page of the session with this id, or of nobody's (null), is one of another session than this. */
  isOther(id: string | null): boolean {
    if (this.page !== undefined) return (this.page?.id ?? null) !== id;
    const before = this.heard;
    this.heard = id;
    return before !== id;
  }

  /** Throws where the session is not any more the one that it was in that generation. */
  check(generation: number): void {
    if (generation !== this.generation) throw changed();
  }

  /** Drops this token, unless it was replaced already. */
  drop(token: string): void {
    if (this.held?.token === token) this.held.until = -Infinity; // and whose it was is still known
  }

  /** The token. However many wait for one, one request fetches it. */
  get(): Promise<string> {
    if (this.held !== undefined && this.now() < this.held.until) return Promise.resolve(this.held.token);
    if (this.fetching === undefined) {
      const fetching = this.fetch(this.generation).finally(() => {
        if (this.fetching === fetching) this.fetching = undefined;
      });
      this.fetching = fetching;
    }
    return this.fetching;
  }

  private async fetch(generation: number): Promise<string> {
    const token = await this.ask();
    this.check(generation);
    const claims = claimsOf(token);
    if (this.page !== undefined && claims.sub !== this.page?.userId) throw changed(); // the page was made for somebody else
    const now = this.now();
    // By the issuer's clock alone: this one's may be wrong. A token is signed when it is asked for, so that its iat is now.
    const life = (claims.exp - (typeof claims.iat === "number" ? claims.iat : now / 1000)) * 1000;
    this.held = { token, subject: claims.sub, until: now + Math.max(life - renewBefore, life / 2) };
    return token;
  }

  private async ask(): Promise<string> {
    for (let attempt = 0; ; attempt++) {
      const answer = await this.load(this.tokenURL);
      if (answer.ok) {
        const token = typeof answer.value === "object" && answer.value !== null && "token" in answer.value ? answer.value.token : undefined;
        if (typeof token !== "string") throw new ApiError(0, `${this.tokenURL} gives no token`, "malformed_token");
        return token;
      }
      if (answer.error.status !== 401) throw answer.error.status >= 500 ? unavailable(answer.error) : answer.error;
      // Better Auth says 401 also while it cannot read its database. Where it can, it says here that nobody is signed in: null.
      const session = await this.load(this.sessionURL);
      if (session.ok && session.value === null) throw answer.error;
      if (!session.ok || attempt > 0) throw unavailable(session.ok ? answer.error : session.error);
    }
  }

  private async load(url: string): Promise<{ ok: true; value: unknown } | { ok: false; error: ApiError }> {
    const transport = this.transport();
    const { pathname, search, origin } = new URL(url, globalThis.location?.origin ?? transport.baseURL);
    const deadline = new Deadline(tokenTimeout, undefined);
    try {
      const init = prepare({ credentials: "include", cache: "no-store" });
      const answer = await send({ ...transport, baseURL: origin }, pathname + search, init, () => undefined, deadline);
      if (!answer.response.ok) return { ok: false, error: failureOf(answer) };
      const text = await deadline.of(answer.response.text()).catch((error: unknown) => Promise.reject(deadline.cutOff(error)));
      return { ok: true, value: JSON.parse(text) as unknown };
    } catch (error) {
      if (error instanceof SyntaxError) throw new ApiError(0, `${url} does not answer with JSON`, "malformed_token", { cause: error });
      throw deadline.failed(error);
    } finally {
      deadline.finish();
    }
  }
}

function changed(): ApiError {
  return new ApiError(0, "Another session has begun; load the page again", "session_changed");
}

function unavailable(cause: ApiError): ApiError {
  return new ApiError(503, "Better Auth could not be asked", "auth_unavailable", { cause });
}

/** A JWT's claims. They are read to know whose it is and when to renew it, and decide nothing. */
function claimsOf(token: string): { sub?: unknown; iat?: unknown; exp: number } {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; iat?: unknown; exp?: unknown };
    if (typeof claims.exp === "number") return { sub: claims.sub, iat: claims.iat, exp: claims.exp };
  } catch {
    // Below.
  }
  throw new ApiError(0, "The token has no exp", "malformed_token");
}
