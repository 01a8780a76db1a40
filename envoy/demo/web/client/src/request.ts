import { abortedBy, ApiError, errorOf, thrown } from "./errors";
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
   * the time-out ends when the headers are there, the signal also ends the body.
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
  /** Milliseconds for a whole call. */
  timeout: number;
}

/** What a timer holds, in milliseconds; one of more would end at once. */
const longest = 2 ** 31 - 1;

/** One call's end: the caller's signal, and its own time-out. */
export class Deadline {
  private readonly controller = new AbortController();
  private readonly timer: ReturnType<typeof setTimeout>;
  private readonly end: number;
  private readonly stop = () => this.controller.abort(this.callers?.reason);
  timedOut = false;

  constructor(
    milliseconds: number,
    private readonly callers: AbortSignal | null | undefined,
  ) {
    this.end = performance.now() + milliseconds;
    this.timer = setTimeout(() => {
      this.timedOut = true;
      this.controller.abort(new DOMException("No answer came in time", "TimeoutError"));
    }, Math.min(milliseconds, longest));
    if (callers?.aborted) this.stop();
    else callers?.addEventListener("abort", this.stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Milliseconds that are left. */
  get left(): number {
    return this.end - performance.now();
  }

  /** The time is no longer counted; the caller's signal still ends what runs. */
  stopClock(): void {
    clearTimeout(this.timer);
  }

  finish(): void {
    this.stopClock();
    this.callers?.removeEventListener("abort", this.stop);
  }

  /** The promise's outcome, unless the call ends before; the promise itself goes on, for others who wait for it. */
  async of<T>(promise: Promise<T>): Promise<T> {
    if (this.signal.aborted) {
      promise.catch(() => {});
      throw abortedBy(this.signal);
    }
    return new Promise((done, fail) => {
      const stop = () => fail(abortedBy(this.signal));
      this.signal.addEventListener("abort", stop, { once: true });
      promise.then(done, fail).finally(() => this.signal.removeEventListener("abort", stop));
    });
  }

  thrown(error: unknown): ApiError {
    return thrown(error, this.callers, this.timedOut);
  }

  /** What a call threw. What neither fetch nor the deadline threw came before anything was sent, and says nothing about the server. */
  failed(error: unknown): ApiError {
    const found = this.thrown(error);
    if (found === error || found.code !== "unreachable") return found;
    return new ApiError(0, `The call could not be made: ${error instanceof Error ? error.message : String(error)}`, "not_sent", { cause: error });
  }
}

/** An answer, and its body where that was read to decide what to do. */
export interface Answer {
  response: Response;
  text?: string;
  /** Throws where the answer is not any more for who is there; asked again once the body is read. */
  check?: () => void;
}

/**
 * Sends one request, and again while there is an outage that may be over soon. Methods that change something are sent again only where the backend
 * was not asked: extauthz gave the 503 itself.
 */
export async function send(transport: Transport, path: string, init: ApiRequest, authorize: () => string | undefined, deadline: Deadline): Promise<Answer> {
  const url = resolve(path, transport.baseURL);
  for (let attempt = 0; ; attempt++) {
    const request = requestOf(init, authorize(), deadline.signal);
    let answer: Answer | undefined;
    let failed: ApiError | undefined;
    try {
      const response = await transport.fetch(url, request);
      answer = response.status >= 400 ? { response, text: await response.text().catch(() => "") } : { response };
    } catch (error) {
      failed = deadline.thrown(error);
      if (!failed.isOutage || deadline.signal.aborted) throw failed;
    }
    const again = attempt < transport.retries && !(request.body instanceof ReadableStream) && mayRepeat(request.method ?? "GET", answer);
    const wait = again ? pause(answer?.response, transport.random()) : Infinity;
    if (!again || !(wait < deadline.left)) {
      if (failed !== undefined) throw failed;
      return answer as Answer;
    }
    await deadline.of(transport.sleep(wait, deadline.signal));
  }
}

function requestOf(init: ApiRequest, authorization: string | undefined, signal: AbortSignal): RequestInit {
  const { body, ...rest } = init;
  if (body !== undefined && ["GET", "HEAD"].includes((init.method ?? "GET").toUpperCase())) throw new TypeError("a GET or HEAD has no body");
  if (init.method !== undefined) new Request("https://method.invalid", { method: init.method }); // throws where it is none, which fetch's error would not tell
  let headers: Headers;
  try {
    headers = new Headers(init.headers);
  } catch (error) {
    throw new ApiError(0, "A header cannot hold such a value; encode it, as encodeURIComponent does", "bad_header", { cause: error });
  }
  if (authorization !== undefined) headers.set("authorization", authorization); // the caller's headers do not take it away
  if (!headers.has("accept")) headers.set("accept", "application/json");
  const request: RequestInit = { ...rest, headers, signal };
  if (body !== undefined) {
    if (isPlain(body)) {
      request.body = JSON.stringify(body);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
    } else {
      request.body = body as BodyInit;
      if (body instanceof ReadableStream) Object.assign(request, { duplex: "half" }); // which fetch asks for
    }
  }
  return request;
}

const idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]; // RFC 9110 §9.2.2

/** Tells whether a request that came to this may be sent again. */
function mayRepeat(method: string, answer: Answer | undefined): boolean {
  const repeats = idempotent.includes(method.toUpperCase());
  if (answer === undefined) return repeats; // it may have arrived
  const { status } = answer.response;
  return (repeats && status >= 502 && status <= 504) || (status === 503 && isOfTheCheck(answer));
}

/** What extauthz says where it could not decide; the request has not been passed on then. */
const notDecided = "Authentication service unavailable";

function isOfTheCheck({ text }: Answer): boolean {
  try {
    return (JSON.parse(text ?? "") as { detail?: unknown }).detail === notDecided;
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
    const failed = deadline.thrown(error);
    throw failed.code === "unreachable" ? new ApiError(0, "The answer was cut off", "cut_off", { cause: error }) : failed;
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

/** Ends the deadline of a body that nobody holds any more, so that a signal of a page's whole life does not gather one for each download. */
const forgotten = new FinalizationRegistry<Deadline>((deadline) => deadline.finish());

/** Sends a call with its credential, and answers what came, a refusal, too. */
export type Call = (path: string, init: ApiRequest, deadline: Deadline) => Promise<Answer>;

/** The methods, on top of one function that calls. */
export function clientOf(call: Call, timeout: number): ApiClient {
  async function raw(path: string, init: ApiRequest = {}): Promise<Response> {
    const deadline = new Deadline(init.timeout ?? timeout, init.signal);
    try {
      const answer = await deadline.of(call(path, init, deadline));
      if (!answer.response.ok) throw failureOf(answer);
      const { body } = answer.response;
      if (body === null) deadline.finish();
      else deadline.stopClock(); // and not finished: the signal is the body's, too, as long as somebody has that
      if (body !== null) forgotten.register(body, deadline);
      return answer.response;
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
      const answer = await deadline.of(call(path, rest, deadline));
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

/** Waits, unless the signal ends it. */
export function sleep(milliseconds: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedBy(signal));
    const stop = () => {
      clearTimeout(timer);
      reject(abortedBy(signal as AbortSignal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, Math.min(milliseconds, longest));
    signal?.addEventListener("abort", stop, { once: true });
  });
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
