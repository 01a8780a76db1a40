/** Why a call failed: what the server answered, or that no answer came. Every call of both clients that fails throws one. */
declare class ApiError extends Error {
    /** HTTP status; 0 when there was no answer, or none that is whole. */
    readonly status: number;
    /** What the server says, as FastAPI and extauthz do in `{"detail": …}`. */
    readonly detail: string;
    /** One word for the cause: the body's `code`, the error of `WWW-Authenticate` (RFC 6750 §3.1), or a word of {@link codes}. */
    readonly code: string;
    readonly name = "ApiError";
    /** The answer's body as it was parsed, such as FastAPI's list of faults; text where it is no JSON; else undefined. */
    readonly body: unknown;
    constructor(
    /** HTTP status; 0 when there was no answer, or none that is whole. */
    status: number, 
    /** What the server says, as FastAPI and extauthz do in `{"detail": …}`. */
    detail: string, 
    /** One word for the cause: the body's `code`, the error of `WWW-Authenticate` (RFC 6750 §3.1), or a word of {@link codes}. */
    code: string, options?: ErrorOptions & {
        body?: unknown;
    });
    /** The credential is refused, or there is none: sign in (again). */
    get isSignedOut(): boolean;
    /** It could not be decided, or not be reached. The user is as signed in as before; try later. */
    get isOutage(): boolean;
    /** The caller's own signal ended the call. Its reason is the `cause`. */
    get isAborted(): boolean;
    /** FastAPI's list of what is wrong with a request (422); empty where there is none. */
    get faults(): Fault[];
}
/** One fault of a request, as FastAPI lists it. */
interface Fault {
    /** Where it is, such as `["body", "text"]`. */
    loc: (string | number)[];
    msg: string;
    type?: string;
}

/** What a call may say beside its path. Bodies other than strings, forms, files and streams are sent as JSON. */
interface ApiRequest extends Omit<RequestInit, "body"> {
    body?: unknown;
    /** How long the whole call may take with its token, its retries and the answer's body, in milliseconds. */
    timeout?: number;
    /** Next.js's cache: see {@link serverClient}. */
    next?: {
        revalidate?: number | false;
        tags?: string[];
    };
}
/** Checks an answer's value, which is `undefined` where it has no content, and gives it its type; it throws what is wrong. */
type Parse<T> = (value: unknown) => T;
/**
 * Calls the API. Without `parse`, `T` is what the caller believes of the answer, and an answer without content (204) is
 * `undefined`. With it the value is what `parse` makes of it, such as `User.parse` of zod.
 */
interface ApiClient {
    request<T>(path: string, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    request<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
    get<T>(path: string, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    get<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
    post<T>(path: string, body: unknown, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    post<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
    put<T>(path: string, body: unknown, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    put<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
    patch<T>(path: string, body: unknown, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    patch<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
    delete<T>(path: string, init: ApiRequest & {
        parse: Parse<T>;
    }): Promise<T>;
    delete<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
    /**
     * The answer itself, for downloads and streams: `response.body`, `response.blob()`. A refusal or an outage throws as elsewhere;
     * the time-out ends when the headers are there, the signal also ends the body. What a GET reads fails once the session is another.
     */
    raw(path: string, init?: ApiRequest): Promise<Response>;
}
/** What both clients are made of. */
interface Transport {
    baseURL: string;
    fetch: typeof fetch;
    /** Waits so many milliseconds, unless the signal ends it. */
    sleep: (milliseconds: number, signal?: AbortSignal | null) => Promise<void>;
    /** From 0 to below 1, as Math.random. */
    random: () => number;
    /** How often an outage is tried again. */
    retries: number;
}

/** Whose page it is, as the server knows that renders it. */
interface PageSession {
    /** The session's id, and not its token: `session.session.id`. */
    id: string;
    /** The `sub` of the user's tokens: `session.user.id`, unless the jwt plugin has a `getSubject` of its own. */
    userId: string;
}

interface BrowserClientOptions {
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
interface BrowserClient extends ApiClient {
    /** A JWT of whoever is signed in, for what cannot be called through this client: a WebSocket's first message, an EventSource by fetch. */
    token(init?: {
        signal?: AbortSignal | null;
        timeout?: number;
    }): Promise<string>;
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
    readonly authPlugin: {
        id: "extauthz-api-client";
        fetchPlugins: AuthFetchPlugin[];
    };
}
/** What Better Auth's client takes as a fetch plugin, as far as it is used here. */
interface AuthFetchPlugin {
    id: string;
    name: string;
    hooks: {
        onRequest(context: AuthFetched): void;
        onResponse(context: {
            request: AuthFetched;
        }): void;
    };
}
/** A request of Better Auth's client. */
interface AuthFetched {
    method?: string | undefined;
    url?: string | URL | undefined;
}
/**
 * A client for the browser. The JWT is kept in memory until a minute before its end, and is sent to the base URL's origin alone. A call that is
 * refused with 401 is sent once more with a fresh token; one that changes something only where the check itself refused it. An outage is tried again and
 * is never taken for a sign-out. Nothing comes out of the browser's cache unless a call says so by `cache`. The client may be made when a module is loaded,
 * also on a server that renders the page; there it cannot be called.
 */
declare function browserClient(options?: BrowserClientOptions): BrowserClient;

interface ServerClientOptions {
    /** Where the API is: Envoy, and not the backend behind it; with the path that all its paths begin with. */
    baseURL: string;
    /** The `Cookie` header of the request that is being answered, such as `(await headers()).get("cookie")` in Next.js. */
    cookie: () => string | null | undefined | Promise<string | null | undefined>;
    /** The session cookie's name, where `cookiePrefix` is set; `better-auth.session_token` by default. */
    cookieName?: string;
    /** How often an outage is tried again; 1 by default, for somebody waits for the page. */
    retries?: number;
    /** Milliseconds for a whole call, with its retries and its body; 10,000 by default. */
    timeout?: number;
    fetch?: typeof fetch;
    sleep?: Transport["sleep"];
    random?: () => number;
}
/**
 * A client for the server that renders pages. It sends the session token of the user's cookie as a bearer token, so that the request needs no cookie and
 * no Origin, and a sign-out holds at once. Make one for each request: it is one user's.
 *
 * Nothing is cached unless a call says so by `cache` or by Next.js's `next: { revalidate, tags }`; its cache's key holds the Authorization header, so
 * that nobody gets what was cached for another.
 */
declare function serverClient(options: ServerClientOptions): ApiClient;

/**
 * A path with its values escaped, for functions that name an endpoint:
 *
 *     const user = (userId: string) => path`/api/users/${userId}`;
 *
 * A value never becomes another segment, also where it is `..` or holds a slash.
 */
declare function path(parts: TemplateStringsArray, ...values: (string | number)[]): string;

export { type ApiClient, ApiError, type ApiRequest, type BrowserClient, type BrowserClientOptions, type Fault, type PageSession, type Parse, type ServerClientOptions, browserClient, path, serverClient };
