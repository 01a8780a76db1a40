/** Why a call failed: what the server answered, or that it could not be reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    /** HTTP status; 0 when there was no answer. */
    readonly status: number,
    /** What the server says, as FastAPI and extauthz do in `{"detail": …}`. */
    readonly detail: string,
    /** One word for the cause: the body's `code`, the error of `WWW-Authenticate` (RFC 6750 §3.1), or a word for the status. */
    readonly code: string,
    options?: ErrorOptions,
  ) {
    super(`${status} ${detail}`, options);
  }

  /** The credential is refused: sign in (again). */
  get isSignedOut(): boolean {
    return this.status === 401;
  }

  /** It could not be decided, or not be reached. The user is as signed in as before; try later. */
  get isOutage(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/** What a call may say beside its path. Bodies other than strings, forms and streams are sent as JSON. */
export interface ApiRequest extends Omit<RequestInit, "body"> {
  body?: unknown;
}

/** Calls the API. `T` is what the caller says that the answer is; an answer without content (204) is `undefined`. */
export interface ApiClient {
  request<T>(path: string, init?: ApiRequest): Promise<T>;
  get<T>(path: string, init?: ApiRequest): Promise<T>;
  post<T>(path: string, body?: unknown, init?: ApiRequest): Promise<T>;
  put<T>(path: string, body?: unknown, init?: ApiRequest): Promise<T>;
  patch<T>(path: string, body?: unknown, init?: ApiRequest): Promise<T>;
  delete<T>(path: string, init?: ApiRequest): Promise<T>;
}

/** What both clients are made of. */
export interface Transport {
  baseURL: string;
  fetch: typeof fetch;
  sleep: (milliseconds: number, signal?: AbortSignal | null) => Promise<void>;
  /** How often an outage is tried again. */
  retries: number;
}

const longestWait = 30_000; // milliseconds; a server that wants more is told to the caller

/** Sends one request, and again while there is an outage that may be over soon. */
export async function send(transport: Transport, path: string, init: ApiRequest, authorization: string | undefined): Promise<Response> {
  const { body, ...rest } = init;
  const headers = new Headers(init.headers);
  if (authorization !== undefined) headers.set("authorization", authorization); // the caller's headers do not lose it
  if (!headers.has("accept")) headers.set("accept", "application/json");
  const request: RequestInit = { ...rest, headers };
  if (body !== undefined) {
    if (isPlain(body)) {
      request.body = JSON.stringify(body);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
    } else {
      request.body = body as BodyInit;
    }
  }
  for (let attempt = 0; ; attempt++) {
    let response: Response;
    try {
      response = await transport.fetch(new URL(path, transport.baseURL), request);
    } catch (error) {
      if (init.signal?.aborted) throw error; // the caller's own wish
      throw new ApiError(0, "The server could not be reached", "unreachable", { cause: error });
    }
    const wait = response.status === 503 ? retryAfter(response) : undefined;
    if (wait === undefined || attempt >= transport.retries || wait > longestWait || !canRepeat(request.body)) return response;
    drop(response);
    await transport.sleep(wait, init.signal);
  }
}

/** Reads the answer, or throws what it says. */
export async function read<T>(response: Response): Promise<T> {
  if (!response.ok) throw await errorOf(response);
  if (response.status === 204 || response.status === 205) return undefined as T;
  const text = await response.text();
  if (text === "") return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new ApiError(response.status, "The answer is not JSON", "malformed_answer", { cause: error });
  }
}

export async function errorOf(response: Response): Promise<ApiError> {
  let detail = response.statusText || "The request failed";
  let code = codes[response.status] ?? "error";
  const challenge = /error="([^"]+)"/.exec(response.headers.get("www-authenticate") ?? "");
  if (challenge?.[1] !== undefined) code = challenge[1];
  const text = await response.text().catch(() => "");
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null) {
      if ("detail" in body) detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail);
      else if ("message" in body && typeof body.message === "string") detail = body.message; // Better Auth's own errors
      if ("code" in body && typeof body.code === "string") code = body.code;
    }
  } catch {
    // Not JSON, as a proxy's own page: the status says enough.
  }
  return new ApiError(response.status, detail, code);
}

/** The methods, on top of one function that sends. */
export function clientOf(request: ApiClient["request"]): ApiClient {
  const withBody =
    (method: string) =>
    <T>(path: string, body?: unknown, init?: ApiRequest): Promise<T> =>
      request<T>(path, { ...init, method, body });
  return {
    request,
    get: (path, init) => request(path, { ...init, method: "GET" }),
    post: withBody("POST"),
    put: withBody("PUT"),
    patch: withBody("PATCH"),
    delete: (path, init) => request(path, { ...init, method: "DELETE" }),
  };
}

/** Lets an answer go unread. Nobody waits for that: some frameworks hand out copies whose cancelling waits for the other copy. */
export function drop(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** Waits, unless the signal ends it. */
export function sleep(milliseconds: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

const codes: Record<number, string> = { 401: "unauthenticated", 403: "forbidden", 404: "not_found", 409: "conflict", 422: "unprocessable", 429: "too_many_requests", 503: "unavailable" };

/** Milliseconds, of seconds or a date (RFC 9110 §10.2.3); a second where nothing is said. */
function retryAfter(response: Response): number {
  const value = response.headers.get("retry-after");
  if (value === null) return 1000;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(value);
  return Number.isNaN(date) ? 1000 : Math.max(0, date - Date.now());
}

function canRepeat(body: BodyInit | null | undefined): boolean {
  return !(body instanceof ReadableStream);
}

function isPlain(body: unknown): boolean {
  return !(
    typeof body === "string" ||
    body instanceof URLSearchParams ||
    body instanceof FormData ||
    body instanceof Blob ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body) ||
    body instanceof ReadableStream
  );
}
