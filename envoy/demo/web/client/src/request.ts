import { Deadline } from "./deadline";
import { guarded } from "./download";
import { ApiError, errorOf } from "./errors";
import { resolve } from "./url";

/** What a call may say beside its path. Bodies other than strings, forms, files and streams are sent as JSON. */
export interface ApiRequest extends Omit<RequestInit, "body"> {
  body?: unknown;
  /** How long the whole call may take with its token, its retries and the answer's body, in milliseconds. */
  timeout?: number;
  /** Next.js's cache: see {@link serverClient}. */
  next?: { revalidate?: number | false; tags?: string[] };
}

/** Checks an answer's value, which is `undefined` where it has no content, and gives it its type; it throws what is wrong. */
export type Parse<T> = (value: unknown) => T;

/**
 * Calls the API. Without `parse`, `T` is what the caller believes of the answer, and an answer without content (204) is
 * `undefined`. With it the value is what `parse` makes of it, such as `User.parse` of zod.
 */
export interface ApiClient {
  request<T>(path: string, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  request<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
  get<T>(path: string, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  get<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
  post<T>(path: string, body: unknown, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  post<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
  put<T>(path: string, body: unknown, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  put<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
  patch<T>(path: string, body: unknown, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  patch<T = unknown>(path: string, body?: unknown, init?: ApiRequest): Promise<T | undefined>;
  delete<T>(path: string, init: ApiRequest & { parse: Parse<T> }): Promise<T>;
  delete<T = unknown>(path: string, init?: ApiRequest): Promise<T | undefined>;
  /**
   * The answer itself, for downloads and streams: `response.body`, `response.blob()`. A refusal or an outage throws as elsewhere;
   * the time-out ends when the headers are there, the signal also ends the body. What a GET reads fails once the session is another.
   */
  raw(path: string, init?: ApiRequest): Promise<Response>;
}

/** What both clients are made of. */
export interface Transport {
  baseURL: string;
  fetch: typeof fetch;
  /** Waits so many milliseconds, unless the signal ends it. */
  sleep: (milliseconds: number, signal?: AbortSignal | null) => Promise<void>;
  /** From 0 to below 1, as Math.random. */
  random: () => number;
  /** How often an outage is tried again. */
  retries: number;
}

/** An answer, and its body where that was read to decide what to do. */
export interface Answer {
  response: Response;
  text?: string;
  /** Throws where the answer is not any more for who is there; asked again with what is read of the body. */
  check?: () => void;
}

/** What is sent, as it was when the caller asked: what they change afterwards, while a token is fetched or before a retry, is not in it. */
export interface Prepared extends Omit<ApiRequest, "body" | "headers"> {
  headers: Headers;
  body: BodyInit | undefined;
}

/** Throws where the call cannot be made. */
export function prepare({ body, headers: given, ...init }: ApiRequest): Prepared {
  if (body != null && isRead(init.method)) throw new TypeError("a GET or HEAD has no body");
  if (init.mode === "no-cors") throw new TypeError('"no-cors" would leave the credential out');
  if (init.method !== undefined) new Request("https://method.invalid", { method: init.method }); // throws where it is none, which fetch's error would not tell
  let headers: Headers;
  try {
    headers = new Headers(given);
  } catch (error) {
    throw new ApiError(0, "A header cannot hold such a value; encode it, as encodeURIComponent does", "bad_header", { cause: error });
  }
  if (!headers.has("accept")) headers.set("accept", "application/json");
  if (body === undefined || isRead(init.method)) return { ...init, headers, body: undefined };
  const own = ownCopy(body);
  if (own !== undefined) return { ...init, headers, body: own };
  if (!headers.has("content-type")) headers.set("content-type", "application/json");
  return { ...init, headers, body: JSON.stringify(body) };
}

/** Tells whether a method only reads: such a call has no body, and its answer is only for who asked. */
export function isRead(method: string | undefined): boolean {
  return ["GET", "HEAD"].includes((method ?? "GET").toUpperCase());
}

/** A body that fetch sends as it is, apart from the caller's; undefined for what goes as JSON. A stream has no copy. */
function ownCopy(body: unknown): BodyInit | undefined {
  if (typeof body === "string" || body instanceof Blob || body instanceof ReadableStream) return body;
  if (body instanceof URLSearchParams) return new URLSearchParams(body);
  if (body instanceof FormData) {
    const copy = new FormData();
    body.forEach((value, name) => copy.append(name, value));
    return copy;
  }
  if (body instanceof ArrayBuffer) return body.slice(0);
  return ArrayBuffer.isView(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() : undefined;
}

/**
 * Sends one request, and again while there is an outage that may be over soon. Methods that change something are sent again only where the backend
 * was not asked: extauthz gave the 503 itself.
 */
export async function send(transport: Transport, path: string, init: Prepared, authorize: () => string | undefined, deadline: Deadline): Promise<Answer> {
  const url = resolve(path, transport.baseURL);
  const { body, ...rest } = init;
  const isStream = body instanceof ReadableStream;
  for (let attempt = 0; ; attempt++) {
    const headers = new Headers(init.headers);
    const authorization = authorize();
    if (authorization !== undefined) headers.set("authorization", authorization); // the caller's headers do not take it away
    const request: RequestInit = { ...rest, headers, signal: deadline.signal };
    if (body !== undefined) request.body = body;
    if (isStream) Object.assign(request, { duplex: "half" }); // which fetch asks for
    let answer: Answer | undefined;
    let failed: ApiError | undefined;
    try {
      const response = await transport.fetch(url, request);
      answer = response.status >= 400 ? { response, text: await response.text().catch(() => "") } : { response };
    } catch (error) {
      failed = deadline.thrown(error);
      if (!failed.isOutage || deadline.signal.aborted) throw failed;
    }
    if (answer !== undefined) refuseForeign(answer.response, url);
    const again = attempt < transport.retries && !isStream && isOutage(answer) && mayRepeat(init.method, answer);
    const wait = again ? pause(answer?.response, transport.random()) : Infinity;
    if (!again || !(wait < deadline.left)) {
      if (failed !== undefined) throw failed;
      return answer as Answer;
    }
    await deadline.of(transport.sleep(wait, deadline.signal));
  }
}

/**
 * A fetch that is redirected to another origin leaves the credential behind, so that a refusal from there says nothing about it: as where the base URL is
 * http and the site redirects to https. What comes whole from there, such as a file that the API keeps elsewhere, is let through.
 */
function refuseForeign({ redirected, status, url }: Response, asked: URL): void {
  if (!redirected || status < 400 || status >= 500 || new URL(url).origin === asked.origin) return;
  throw new ApiError(0, `${asked.origin} leads on to ${new URL(url).origin}, where no credential goes, and which answered with ${status}`, "foreign_url");
}

/** Tells whether it may be over soon: 502, 503, 504, or no answer. */
function isOutage(answer: Answer | undefined): boolean {
  return answer === undefined || (answer.response.status >= 502 && answer.response.status <= 504);
}

const idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]; // RFC 9110 §9.2.2

/** Tells whether a request that came to this may be sent again: it changes nothing more then, or the backend was not asked. */
export function mayRepeat(method: string | undefined, answer: Answer | undefined): boolean {
  return idempotent.includes((method ?? "GET").toUpperCase()) || (answer !== undefined && isOfTheCheck(answer));
}

/** What extauthz says by its status where it did not pass a request on: it could not decide, or it refused the token. */
const ofTheCheck: Record<number, string[]> = {
  401: ["Token has expired", "Invalid token", "Invalid token: missing user ID", "Not authenticated: Missing Authorization header"],
  503: ["Authentication service unavailable"],
};

/**
 * A backend may pass on what the check said to a call of its own, after it has done something. Its answers have the time that Envoy waited for it, and the
 * check's are never stored.
 */
function isOfTheCheck({ response, text }: Answer): boolean {
  const { headers } = response;
  if (headers.has("x-envoy-upstream-service-time") || !headers.get("cache-control")?.includes("no-store")) return false;
  try {
    const { detail } = JSON.parse(text ?? "") as { detail?: unknown };
    return typeof detail === "string" && (ofTheCheck[response.status] ?? []).includes(detail);
  } catch {
    return false;
  }
}

/**
 * How long to wait, in milliseconds: what Retry-After says, in seconds or as a date (RFC 9110 §10.2.3), or a second; and up to half of that more, so
 * that the clients of an outage do not come back in one instant.
 */
function pause(response: Response | undefined, random: number): number {
  const value = response?.headers.get("retry-after");
  let wait = 1000;
  if (value != null) {
    const seconds = Number(value);
    const date = Date.parse(value);
    if (Number.isFinite(seconds)) wait = seconds * 1000;
    else if (!Number.isNaN(date)) wait = date - Date.now();
  }
  wait = Math.max(0, wait);
  return wait + (random * Math.max(wait, 100)) / 2;
}

/** Reads the value of an answer that is no failure. */
async function read(answer: Answer, deadline: Deadline): Promise<unknown> {
  const { response } = answer;
  if (response.status === 204 || response.status === 205) return undefined;
  let text: string;
  try {
    text = answer.text ?? (await deadline.of(response.text()));
  } catch (error) {
    throw deadline.cutOff(error);
  }
  const type = (response.headers.get("content-type") ?? "").toLowerCase();
  if (text === "") return undefined;
  if (type.startsWith("text/csv") || (type.startsWith("text/") && !/^\s*</.test(text))) return text; // a page is a proxy's or a mistake
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ApiError(response.status, "The answer is not JSON; read it with raw()", "malformed_answer", { cause: error, body: text });
  }
}

/** The error of a failure, whose body {@link send} has read. */
export function failureOf({ response, text }: Answer): ApiError {
  return errorOf(response, text ?? "");
}

/** Sends a call with its credential, and answers what came, a refusal, too. */
export type Call = (path: string, init: Prepared, deadline: Deadline) => Promise<Answer>;

/** The methods, on top of one function that calls. */
export function clientOf(call: Call, timeout: number): ApiClient {
  async function raw(path: string, init: ApiRequest = {}): Promise<Response> {
    const deadline = new Deadline(init.timeout ?? timeout, init.signal);
    try {
      const answer = await deadline.of(call(path, prepare(init), deadline));
      if (!answer.response.ok) throw failureOf(answer);
      if (answer.response.body === null) deadline.finish();
      else deadline.stopClock(); // and not finished: the signal is the body's, too
      return guarded(answer, deadline);
    } catch (error) {
      deadline.finish();
      throw deadline.failed(error);
    }
  }

  async function request(path: string, init: ApiRequest & { parse?: Parse<unknown> } = {}): Promise<unknown> {
    const { parse, ...rest } = init;
    const deadline = new Deadline(init.timeout ?? timeout, init.signal);
    let value: unknown;
    let status: number;
    try {
      const answer = await deadline.of(call(path, prepare(rest), deadline));
      if (!answer.response.ok) throw failureOf(answer);
      status = answer.response.status;
      value = await read(answer, deadline);
      answer.check?.();
    } catch (error) {
      throw deadline.failed(error);
    } finally {
      deadline.finish();
    }
    if (parse === undefined) return value;
    try {
      return parse(value);
    } catch (error) {
      throw new ApiError(status, "The answer is not what was expected", "unexpected_answer", { cause: error, body: value });
    }
  }

  const withBody = (method: string) => (path: string, body?: unknown, init?: ApiRequest) => request(path, { ...init, method, body });
  const without = (method: string) => (path: string, init?: ApiRequest) => request(path, { ...init, method });
  return {
    request,
    get: without("GET"),
    post: withBody("POST"),
    put: withBody("PUT"),
    patch: withBody("PATCH"),
    delete: without("DELETE"),
    raw,
  } as ApiClient; // whose overloads say what parse does to the type
}
