import { Deadline, sleep } from "./deadline";
import { ApiError } from "./errors";
import { type Answer, type ApiClient, clientOf, isRead, mayRepeat, type Prepared, send, type Transport } from "./request";
import { type PageSession, Tokens } from "./token";

export interface BrowserClientOptions {
  /** Where the API is, with the path that all its paths begin with; the page's own origin by default. */
  baseURL?: string;
  /** Where Better Auth gives a JWT for the session cookie; `/api/auth/token` of the page's own origin by default. */
  tokenURL?: string;
  /** Where Better Auth tells whether somebody is signed in; `get-session` beside the token's URL by default. */
  sessionURL?: string;
  /** How often an outage is tried again, after the time that the server asks for; 2 by default. */
  retries?: number;
  /** Milliseconds for a whole call, with its token, its retries and its body; 30,000 by default. */
  timeout?: number;
  fetch?: typeof fetch;
  /** Milliseconds since 1970. */
  now?: () => number;
  sleep?: Transport["sleep"];
  random?: () => number;
}

export interface BrowserClient extends ApiClient {
  /** A JWT of whoever is signed in, for what cannot be called through this client: a WebSocket's first message, an EventSource by fetch. */
  token(init?: { signal?: AbortSignal | null; timeout?: number }): Promise<string>;
  /** Forgets the token, here and in the other tabs, as after a sign-in or a sign-out. Calls under way fail with `session_changed`. */
  forget(): void;
  /**
   * Says whose page this is: the session that the server rendered it for, or null. A token of another user is never sent then, and other tabs hear of it.
   * Call it on each page, also where nobody is signed in.
   */
  identify(session: PageSession | null): void;
  /** Calls back when another tab has begun or ended a session, or the page comes back from where it could not hear of one. Returns what ends that. */
  onSessionChange(listener: () => void): () => void;
  /** A plugin for Better Auth's client (`createAuthClient({ plugins: [api.authPlugin] })`): whatever changes something there, forgets the token. */
  readonly authPlugin: { id: "extauthz-api-client"; fetchPlugins: AuthFetchPlugin[] };
}

/** What Better Auth's client takes as a fetch plugin, as far as it is used here. */
export interface AuthFetchPlugin {
  id: string;
  name: string;
  hooks: { onRequest(context: AuthFetched): void; onResponse(context: { request: AuthFetched }): void };
}

/** A request of Better Auth's client. */
export interface AuthFetched {
  method?: string | undefined;
  url?: string | URL | undefined;
}

/** The name under which tabs tell each other. */
const channelName = "extauthz-api-client";

/**
 * A client for the browser. The JWT is kept in memory until a minute before its end, and is sent to the base URL's origin alone. A call that is
 * refused with 401 is sent once more with a fresh token; one that changes something only where the check itself refused it. An outage is tried again and
 * is never taken for a sign-out. Nothing comes out of the browser's cache unless a call says so by `cache`. The client may be made when a module is loaded,
 * also on a server that renders the page; there it cannot be called.
 */
export function browserClient(options: BrowserClientOptions = {}): BrowserClient {
  const transport = (): Transport => ({
    baseURL: baseURLOf(options.baseURL),
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    sleep: options.sleep ?? sleep,
    random: options.random ?? Math.random,
    retries: options.retries ?? 2,
  });
  const timeout = options.timeout ?? 30_000;
  const tokenURL = options.tokenURL ?? "/api/auth/token";
  const sessionURL = options.sessionURL ?? tokenURL.replace(/[?#][^]*$/, "").replace(/[^/]*$/, "get-session");
  const tokens = new Tokens(transport, tokenURL, sessionURL, options.now ?? Date.now);
  const tabs = new Tabs(tokens);

  async function call(path: string, given: Prepared, deadline: Deadline): Promise<Answer> {
    // The browser's cache goes by the URL alone, so that it would hand one user's answer to the next.
    const init: Prepared = given.cache === undefined ? { ...given, cache: "no-store" } : given;
    const { generation } = tokens;
    const attempt = async (): Promise<[string, Answer]> => {
      const token = await deadline.of(tokens.get());
      const authorize = () => {
        tokens.check(generation); // before each attempt: a call of one user's never goes out as another's
        return `Bearer ${token}`;
      };
      return [token, await send(transport(), path, init, authorize, deadline)];
    };
    let [used, answer] = await attempt();
    if (answer.response.status === 401 && !(init.body instanceof ReadableStream) && mayRepeat(init.method, answer)) {
      tokens.drop(used); // another call may have renewed it meanwhile
      tokens.check(generation);
      [used, answer] = await attempt();
    }
    if (answer.response.status === 401) tokens.drop(used);
    if (!isRead(init.method)) return answer;
    const check = () => tokens.check(generation); // what an earlier user could see is not for the next
    check();
    return { ...answer, check };
  }

  const forget = () => {
    tokens.forget();
    tabs.tell(null);
  };
  return {
    ...clientOf(call, timeout),
    async token(init = {}) {
      const deadline = new Deadline(init.timeout ?? timeout, init.signal);
      try {
        return await deadline.of(tokens.get());
      } catch (error) {
        throw deadline.failed(error);
      } finally {
        deadline.finish();
      }
    },
    forget,
    identify(session) {
      if (tokens.identify(session)) tabs.tell({ session: session?.id ?? null });
    },
    onSessionChange: (listener) => tabs.listen(listener),
    authPlugin: {
      id: "extauthz-api-client",
      fetchPlugins: [
        {
          id: "extauthz-api-client",
          name: "forgets the API's token when the session may have changed",
          hooks: {
            onRequest: (request) => {
              if (mayChangeSession(request)) tokens.forget();
            },
            onResponse: ({ request }) => {
              if (mayChangeSession(request)) forget();
            },
          },
        },
      ],
    },
  };
}

/** Tells whether a request to Better Auth may begin or end a session. Links in e-mails and the ways back from providers do so by GET. */
function mayChangeSession({ method, url }: AuthFetched): boolean {
  const path = String(url ?? "").replace(/[?#][^]*$/, "");
  return !isRead(method) || /\/(verify|verify-email|callback)(\/|$)|-callback(\/|$)/.test(path);
}

/** The API's base URL. On a server there is no page, and so no client for one. */
function baseURLOf(given: string | undefined): string {
  if (given === undefined && globalThis.location === undefined) throw new ApiError(0, "browserClient is called on a server; call serverClient there", "no_browser");
  return given === undefined ? globalThis.location.origin : new URL(given, globalThis.location?.origin).href;
}

/** The other tabs and workers of the page's origin, and this one's return from where it does not hear them. */
class Tabs {
  private readonly channel: BroadcastChannel | undefined;
  private readonly listeners = new Set<() => void>();

  constructor(tokens: Tokens) {
    if (globalThis.location === undefined || typeof BroadcastChannel === "undefined") return; // a server, where a channel would keep the process
    const changed = () => {
      tokens.forget();
      for (const listener of this.listeners) listener();
    };
    this.channel = new BroadcastChannel(channelName);
    this.channel.onmessage = ({ data }: MessageEvent<{ session: string | null } | null>) => {
      if (data === null || tokens.isOther(data.session)) changed();
    };
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) changed(); // from the cache for back and forward
    });
    globalThis.document?.addEventListener("resume", changed); // it was frozen; a worker has no document
  }

  tell(message: { session: string | null } | null): void {
    this.channel?.postMessage(message);
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
