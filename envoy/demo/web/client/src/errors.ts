/** Why a call failed: what the server answered, or that no answer came. Every call of both clients that fails throws one. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The answer's body as it was parsed, such as FastAPI's list of faults; text where it is no JSON; else undefined. */
  readonly body: unknown;

  constructor(
    /** HTTP status; 0 when there was no answer, or none that is whole. */
    readonly status: number,
    /** What the server says, as FastAPI and extauthz do in `{"detail": …}`. */
    readonly detail: string,
    /** One word for the cause: the body's `code`, the error of `WWW-Authenticate` (RFC 6750 §3.1), or a word of {@link codes}. */
    readonly code: string,
    options?: ErrorOptions & { body?: unknown },
  ) {
    super(status === 0 ? detail : `${status} ${detail}`, options);
    this.body = options?.body;
  }

  /** The credential is refused, or there is none: sign in (again). */
  get isSignedOut(): boolean {
    return this.status === 401;
  }

  /** It could not be decided, or not be reached. The user is as signed in as before; try later. */
  get isOutage(): boolean {
    if (this.status === 0) return this.code === "unreachable" || this.code === "timeout" || this.code === "cut_off";
    return this.status >= 502 && this.status <= 504;
  }

  /** The caller's own signal ended the call. Its reason is the `cause`. */
  get isAborted(): boolean {
    return this.status === 0 && this.code === "aborted"; // a server may say so, too
  }

  /** FastAPI's list of what is wrong with a request (422); empty where there is none. */
  get faults(): Fault[] {
    const list = typeof this.body === "object" && this.body !== null && "detail" in this.body ? this.body.detail : undefined;
    return Array.isArray(list) ? list.filter(isFault) : [];
  }
}

/** One fault of a request, as FastAPI lists it. */
export interface Fault {
  /** Where it is, such as `["body", "text"]`. */
  loc: (string | number)[];
  msg: string;
  type?: string;
}

function isFault(value: unknown): value is Fault {
  return typeof value === "object" && value !== null && "loc" in value && Array.isArray(value.loc) && "msg" in value && typeof value.msg === "string";
}

/** Words for statuses whose answer names no cause. */
const codes: Record<number, string> = {
  400: "bad_request",
  401: "unauthenticated",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "too_large",
  422: "unprocessable",
  429: "too_many_requests",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
};

/** The error that an answer tells, whose body was read. */
export function errorOf(response: Response, text: string): ApiError {
  let detail = response.statusText || "The request failed";
  let code = codes[response.status] ?? "error";
  const challenge = /error="([^"]+)"/.exec(response.headers.get("www-authenticate") ?? "");
  if (challenge?.[1] !== undefined) code = challenge[1];
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's own page, or nothing: the status says enough.
    return new ApiError(response.status, detail, code, text === "" ? {} : { body: text });
  }
  if (typeof body === "object" && body !== null) {
    if ("detail" in body) detail = detailOf(body.detail);
    else if ("message" in body && typeof body.message === "string") detail = body.message; // Better Auth's own errors
    if ("code" in body && typeof body.code === "string") code = body.code;
  }
  return new ApiError(response.status, detail, code, { body });
}

/** A detail in one line: FastAPI's list of faults as `body.text: Field required; …`. */
function detailOf(detail: unknown): string {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail) && detail.length > 0 && detail.every(isFault)) return detail.map(({ loc, msg }) => `${loc.join(".")}: ${msg}`).join("; ");
  return JSON.stringify(detail);
}

/** What a fetch that threw comes to. A caller's own time-out (`AbortSignal.timeout`) is a time-out like the client's. */
export function thrown(error: unknown, signal: AbortSignal | null | undefined, timedOut: boolean): ApiError {
  if (error instanceof ApiError) return error;
  if (signal?.aborted) return abortedBy(signal);
  if (timedOut) return new ApiError(0, "No answer came in time", "timeout", { cause: error });
  return new ApiError(0, "The server could not be reached", "unreachable", { cause: error });
}

export function abortedBy(signal: AbortSignal): ApiError {
  const reason: unknown = signal.reason;
  if (reason instanceof ApiError) return reason;
  if (reason instanceof Error && reason.name === "TimeoutError") return new ApiError(0, "No answer came in time", "timeout", { cause: reason });
  return new ApiError(0, "The call was aborted", "aborted", { cause: reason });
}
