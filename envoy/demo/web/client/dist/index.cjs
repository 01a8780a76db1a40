'use strict';

// src/errors.ts
var ApiError = class extends Error {
  constructor(status, detail, code, options) {
    super(status === 0 ? detail : `${status} ${detail}`, options);
    this.status = status;
    this.detail = detail;
    this.code = code;
    this.name = "ApiError";
    this.body = options?.body;
  }
  /** The credential is refused, or there is none: sign in (again). */
  get isSignedOut() {
    return this.status === 401;
  }
  /** It could not be decided, or not be reached. The user is as signed in as before; try later. */
  get isOutage() {
    if (this.status === 0) return this.code === "unreachable" || this.code === "timeout" || this.code === "cut_off";
    return this.status >= 502 && this.status <= 504;
  }
  /** The caller's own signal ended the call. Its reason is the `cause`. */
  get isAborted() {
    return this.status === 0 && this.code === "aborted";
  }
  /** FastAPI's list of what is wrong with a request (422); empty where there is none. */
  get faults() {
    const list = typeof this.body === "object" && this.body !== null && "detail" in this.body ? this.body.detail : void 0;
    return Array.isArray(list) ? list.filter(isFault) : [];
  }
};
function isFault(value) {
  return typeof value === "object" && value !== null && "loc" in value && Array.isArray(value.loc) && "msg" in value && typeof value.msg === "string";
}
var codes = {
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
  504: "unavailable"
};
function errorOf(response, text) {
  let detail = response.statusText || "The request failed";
  let code = codes[response.status] ?? "error";
  const challenge = /error="([^"]+)"/.exec(response.headers.get("www-authenticate") ?? "");
  if (challenge?.[1] !== void 0) code = challenge[1];
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    return new ApiError(response.status, detail, code, text === "" ? {} : { body: text });
  }
  if (typeof body === "object" && body !== null) {
    if ("detail" in body) detail = detailOf(body.detail);
    else if ("message" in body && typeof body.message === "string") detail = body.message;
    if ("code" in body && typeof body.code === "string") code = body.code;
  }
  return new ApiError(response.status, detail, code, { body });
}
function detailOf(detail) {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail) && detail.length > 0 && detail.every(isFault)) return detail.map(({ loc, msg }) => `${loc.join(".")}: ${msg}`).join("; ");
  return JSON.stringify(detail);
}
function thrown(error, signal, timedOut) {
  if (error instanceof ApiError) return error;
  if (signal?.aborted) return abortedBy(signal);
  if (timedOut) return new ApiError(0, "No answer came in time", "timeout", { cause: error });
  return new ApiError(0, "The server could not be reached", "unreachable", { cause: error });
}
function abortedBy(signal) {
  const reason = signal.reason;
  if (reason instanceof ApiError) return reason;
  if (reason instanceof Error && reason.name === "TimeoutError") return new ApiError(0, "No answer came in time", "timeout", { cause: reason });
  return new ApiError(0, "The call was aborted", "aborted", { cause: reason });
}

// src/deadline.ts
var longest = 2 ** 31 - 1;
var Deadline = class {
  constructor(milliseconds, callers) {
    this.callers = callers;
    this.controller = new AbortController();
    this.timedOut = false;
    this.end = performance.now() + milliseconds;
    this.timer = setTimeout(() => {
      this.timedOut = true;
      this.controller.abort(new DOMException("No answer came in time", "TimeoutError"));
    }, Math.min(milliseconds, longest));
    this.leave = whenAborted(callers, () => this.controller.abort(callers?.reason));
  }
  get signal() {
    return this.controller.signal;
  }
  /** Milliseconds that are left. */
  get left() {
    return this.end - performance.now();
  }
  /** The time is no longer counted; the caller's signal still ends what runs. */
  stopClock() {
    clearTimeout(this.timer);
  }
  finish() {
    this.stopClock();
    this.leave();
  }
  /** The promise's outcome, unless the call ends before; the promise itself goes on, for others who wait for it. */
  async of(promise) {
    if (this.signal.aborted) {
      promise.catch(() => {
      });
      throw abortedBy(this.signal);
    }
    return new Promise((done, fail) => {
      const stop = () => fail(abortedBy(this.signal));
      this.signal.addEventListener("abort", stop, { once: true });
      promise.then(done, fail).finally(() => this.signal.removeEventListener("abort", stop));
    });
  }
  /** What a fetch threw. */
  thrown(error) {
    return thrown(error, this.callers, this.timedOut);
  }
  /** What an answer's body threw, of which a part may have come. */
  cutOff(error) {
    const failed = this.thrown(error);
    return failed !== error && failed.code === "unreachable" ? new ApiError(0, "The answer was cut off", "cut_off", { cause: error }) : failed;
  }
  /** What a call threw. What neither fetch nor the deadline threw came before anything was sent, and says nothing about the server. */
  failed(error) {
    const found = this.thrown(error);
    if (found === error || found.code !== "unreachable") return found;
    return new ApiError(0, `The call could not be made: ${error instanceof Error ? error.message : String(error)}`, "not_sent", { cause: error });
  }
};
var Waiting = class {
  constructor() {
    this.stops = /* @__PURE__ */ new Set();
  }
  handleEvent() {
    for (const stop of this.stops) stop();
  }
  add(signal, stop) {
    if (this.stops.size === 0) signal.addEventListener("abort", this);
    this.stops.add(stop);
    return () => {
      if (this.stops.delete(stop) && this.stops.size === 0) signal.removeEventListener("abort", this);
    };
  }
};
var waiting = /* @__PURE__ */ new WeakMap();
function whenAborted(signal, stop) {
  if (signal?.aborted) stop();
  if (signal == null || signal.aborted) return () => {
  };
  const those = waiting.get(signal) ?? new Waiting();
  waiting.set(signal, those);
  return those.add(signal, stop);
}
function sleep(milliseconds, signal) {
  return new Promise((resolve2, reject) => {
    if (signal?.aborted) return reject(abortedBy(signal));
    const stop = () => {
      clearTimeout(timer);
      reject(abortedBy(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve2();
    }, Math.min(milliseconds, longest));
    signal?.addEventListener("abort", stop, { once: true });
  });
}

// src/download.ts
var forgotten = typeof FinalizationRegistry === "undefined" ? void 0 : new FinalizationRegistry((deadline) => deadline.finish());
function guarded({ response, check }, deadline) {
  if (response.body === null) return response;
  const end = {};
  let reader;
  const bodyReader = () => reader ??= response.body.getReader();
  const body = new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await bodyReader().read();
          check?.();
          if (!done) return controller.enqueue(value);
          deadline.finish();
          controller.close();
        } catch (error) {
          deadline.finish();
          bodyReader().cancel(error).catch(() => {
          });
          controller.error(end.failure = deadline.cutOff(error));
        }
      },
      cancel(reason) {
        deadline.finish();
        return bodyReader().cancel(reason);
      }
    },
    { highWaterMark: 0 }
    // nothing is read before somebody asks
  );
  forgotten?.register(body, deadline);
  const { status, statusText, headers } = response;
  return likewise(new Response(body, { status, statusText, headers }), response, end);
}
var readers = ["arrayBuffer", "blob", "bytes", "formData", "json", "text"];
function likewise(answer, { url, redirected, type }, end) {
  const own = { url, redirected, type, clone: () => likewise(Response.prototype.clone.call(answer), answer, end) };
  for (const name of readers) {
    const read2 = answer[name];
    if (read2 !== void 0) own[name] = () => read2.call(answer).catch((error) => Promise.reject(end.failure ?? error));
  }
  for (const [name, value] of Object.entries(own)) Object.defineProperty(answer, name, { value });
  return answer;
}

// src/url.ts
function resolve(path2, baseURL) {
  const base = new URL(baseURL);
  if (!/^https?:$/.test(base.protocol)) throw new TypeError(`the base URL is "${baseURL}"; write one like https://app.example.com`);
  const root = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
  let url;
  try {
    url = isAbsolute(path2) ? new URL(path2, base) : new URL(root + path2.replace(/^\//, ""), base);
  } catch {
  }
  if (url === void 0 || url.origin !== base.origin || url.username !== "" || url.password !== "" || !`${url.pathname}/`.startsWith(root)) {
    throw new ApiError(0, `The path leads out of ${base.origin}${root}; call it without this client`, "foreign_url");
  }
  return url;
}
function isAbsolute(path2) {
  const read2 = path2.replace(/[\u0000-\u0020]/g, "").replaceAll("\\", "/");
  return read2.startsWith("//") || /^[a-z][a-z0-9+.-]*:/i.test(read2);
}
function path(parts, ...values) {
  return parts.reduce((whole, part, i) => whole + escaped(String(values[i - 1])) + part);
}
function escaped(value) {
  if (value === "" || value === "." || value === "..") throw new TypeError(`A path cannot hold "${value}" as a value`);
  return encodeURIComponent(value);
}

// src/request.ts
function prepare({ body, headers: given, ...init }) {
  if (body != null && isRead(init.method)) throw new TypeError("a GET or HEAD has no body");
  if (init.mode === "no-cors") throw new TypeError('"no-cors" would leave the credential out');
  if (init.method !== void 0) new Request("https://method.invalid", { method: init.method });
  let headers;
  try {
    headers = new Headers(given);
  } catch (error) {
    throw new ApiError(0, "A header cannot hold such a value; encode it, as encodeURIComponent does", "bad_header", { cause: error });
  }
  if (!headers.has("accept")) headers.set("accept", "application/json");
  if (body === void 0 || isRead(init.method)) return { ...init, headers, body: void 0 };
  const own = ownCopy(body);
  if (own !== void 0) return { ...init, headers, body: own };
  if (!headers.has("content-type")) headers.set("content-type", "application/json");
  return { ...init, headers, body: JSON.stringify(body) };
}
function isRead(method) {
  return ["GET", "HEAD"].includes((method ?? "GET").toUpperCase());
}
function ownCopy(body) {
  if (typeof body === "string" || body instanceof Blob || body instanceof ReadableStream) return body;
  if (body instanceof URLSearchParams) return new URLSearchParams(body);
  if (body instanceof FormData) {
    const copy = new FormData();
    body.forEach((value, name) => copy.append(name, value));
    return copy;
  }
  if (body instanceof ArrayBuffer) return body.slice(0);
  return ArrayBuffer.isView(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() : void 0;
}
async function send(transport, path2, init, authorize, deadline) {
  const url = resolve(path2, transport.baseURL);
  const { body, ...rest } = init;
  const isStream = body instanceof ReadableStream;
  for (let attempt = 0; ; attempt++) {
    const headers = new Headers(init.headers);
    const authorization = authorize();
    if (authorization !== void 0) headers.set("authorization", authorization);
    const request = { ...rest, headers, signal: deadline.signal };
    if (body !== void 0) request.body = body;
    if (isStream) Object.assign(request, { duplex: "half" });
    let answer;
    let failed;
    try {
      const response = await transport.fetch(url, request);
      answer = response.status >= 400 ? { response, text: await response.text().catch(() => "") } : { response };
    } catch (error) {
      failed = deadline.thrown(error);
      if (!failed.isOutage || deadline.signal.aborted) throw failed;
    }
    if (answer !== void 0) refuseForeign(answer.response, url);
    const again = attempt < transport.retries && !isStream && isOutage(answer) && mayRepeat(init.method, answer);
    const wait = again ? pause(answer?.response, transport.random()) : Infinity;
    if (!again || !(wait < deadline.left)) {
      if (failed !== void 0) throw failed;
      return answer;
    }
    await deadline.of(transport.sleep(wait, deadline.signal));
  }
}
function refuseForeign({ redirected, status, url }, asked) {
  if (!redirected || status < 400 || status >= 500 || new URL(url).origin === asked.origin) return;
  throw new ApiError(0, `${asked.origin} leads on to ${new URL(url).origin}, where no credential goes, and which answered with ${status}`, "foreign_url");
}
function isOutage(answer) {
  return answer === void 0 || answer.response.status >= 502 && answer.response.status <= 504;
}
var idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
function mayRepeat(method, answer) {
  return idempotent.includes((method ?? "GET").toUpperCase()) || answer !== void 0 && isOfTheCheck(answer);
}
var ofTheCheck = {
  401: ["Token has expired", "Invalid token", "Invalid token: missing user ID", "Not authenticated: Missing Authorization header"],
  503: ["Authentication service unavailable"]
};
function isOfTheCheck({ response, text }) {
  const { headers } = response;
  if (headers.has("x-envoy-upstream-service-time") || !headers.get("cache-control")?.includes("no-store")) return false;
  try {
    const { detail } = JSON.parse(text ?? "");
    return typeof detail === "string" && (ofTheCheck[response.status] ?? []).includes(detail);
  } catch {
    return false;
  }
}
function pause(response, random) {
  const value = response?.headers.get("retry-after");
  let wait = 1e3;
  if (value != null) {
    const seconds = Number(value);
    const date = Date.parse(value);
    if (Number.isFinite(seconds)) wait = seconds * 1e3;
    else if (!Number.isNaN(date)) wait = date - Date.now();
  }
  wait = Math.max(0, wait);
  return wait + random * Math.max(wait, 100) / 2;
}
async function read(answer, deadline) {
  const { response } = answer;
  if (response.status === 204 || response.status === 205) return void 0;
  let text;
  try {
    text = answer.text ?? await deadline.of(response.text());
  } catch (error) {
    throw deadline.cutOff(error);
  }
  const type = (response.headers.get("content-type") ?? "").toLowerCase();
  if (text === "") return void 0;
  if (type.startsWith("text/csv") || type.startsWith("text/") && !/^\s*</.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(response.status, "The answer is not JSON; read it with raw()", "malformed_answer", { cause: error, body: text });
  }
}
function failureOf({ response, text }) {
  return errorOf(response, text ?? "");
}
function clientOf(call, timeout) {
  async function raw(path2, init = {}) {
    const deadline = new Deadline(init.timeout ?? timeout, init.signal);
    try {
      const answer = await deadline.of(call(path2, prepare(init), deadline));
      if (!answer.response.ok) throw failureOf(answer);
      if (answer.response.body === null) deadline.finish();
      else deadline.stopClock();
      return guarded(answer, deadline);
    } catch (error) {
      deadline.finish();
      throw deadline.failed(error);
    }
  }
  async function request(path2, init = {}) {
    const { parse, ...rest } = init;
    const deadline = new Deadline(init.timeout ?? timeout, init.signal);
    let value;
    let status;
    try {
      const answer = await deadline.of(call(path2, prepare(rest), deadline));
      if (!answer.response.ok) throw failureOf(answer);
      status = answer.response.status;
      value = await read(answer, deadline);
      answer.check?.();
    } catch (error) {
      throw deadline.failed(error);
    } finally {
      deadline.finish();
    }
    if (parse === void 0) return value;
    try {
      return parse(value);
    } catch (error) {
      throw new ApiError(status, "The answer is not what was expected", "unexpected_answer", { cause: error, body: value });
    }
  }
  const withBody = (method) => (path2, body, init) => request(path2, { ...init, method, body });
  const without = (method) => (path2, init) => request(path2, { ...init, method });
  return {
    request,
    get: without("GET"),
    post: withBody("POST"),
    put: withBody("PUT"),
    patch: withBody("PATCH"),
    delete: without("DELETE"),
    raw
  };
}

// src/token.ts
var renewBefore = 6e4;
var tokenTimeout = 1e4;
var Tokens = class {
  constructor(transport, tokenURL, sessionURL, now) {
    this.transport = transport;
    this.tokenURL = tokenURL;
    this.sessionURL = sessionURL;
    this.now = now;
    this.generation = 0;
  }
  /** Forgets the token: the next call fetches another. Calls that wait for one fail, for they were another's. */
  forget() {
    this.generation++;
    this.held = void 0;
    this.fetching = void 0;
  }
  /** Takes over whose page it is now, and tells whether that is another session than before. */
  identify(page) {
    const before = this.page;
    if (before !== void 0 && before?.id === page?.id && before?.userId === page?.userId) return false;
    this.page = page;
    if (before !== void 0 || this.held !== void 0 && this.held.subject !== page?.userId) this.forget();
    return true;
  }
  /** Tells whether a page of the session with this id, or of nobody's (null), is one of another session than this. */
  isOther(id) {
    if (this.page !== void 0) return (this.page?.id ?? null) !== id;
    const before = this.heard;
    this.heard = id;
    return before !== id;
  }
  /** Throws where the session is not any more the one that it was in that generation. */
  check(generation) {
    if (generation !== this.generation) throw changed();
  }
  /** Drops this token, unless it was replaced already. */
  drop(token) {
    if (this.held?.token === token) this.held.until = -Infinity;
  }
  /** The token. However many wait for one, one request fetches it. */
  get() {
    if (this.held !== void 0 && this.now() < this.held.until) return Promise.resolve(this.held.token);
    if (this.fetching === void 0) {
      const fetching = this.fetch(this.generation).finally(() => {
        if (this.fetching === fetching) this.fetching = void 0;
      });
      this.fetching = fetching;
    }
    return this.fetching;
  }
  async fetch(generation) {
    const token = await this.ask();
    this.check(generation);
    const claims = claimsOf(token);
    if (this.page !== void 0 && claims.sub !== this.page?.userId) throw changed();
    const now = this.now();
    const life = (claims.exp - (typeof claims.iat === "number" ? claims.iat : now / 1e3)) * 1e3;
    this.held = { token, subject: claims.sub, until: now + Math.max(life - renewBefore, life / 2) };
    return token;
  }
  async ask() {
    for (let attempt = 0; ; attempt++) {
      const answer = await this.load(this.tokenURL);
      if (answer.ok) {
        const token = typeof answer.value === "object" && answer.value !== null && "token" in answer.value ? answer.value.token : void 0;
        if (typeof token !== "string") throw new ApiError(0, `${this.tokenURL} gives no token`, "malformed_token");
        return token;
      }
      if (answer.error.status !== 401) throw answer.error.status >= 500 ? unavailable(answer.error) : answer.error;
      const session = await this.load(this.sessionURL);
      if (session.ok && session.value === null) throw answer.error;
      if (!session.ok || attempt > 0) throw unavailable(session.ok ? answer.error : session.error);
    }
  }
  async load(url) {
    const transport = this.transport();
    const { pathname, search, origin } = new URL(url, globalThis.location?.origin ?? transport.baseURL);
    const deadline = new Deadline(tokenTimeout, void 0);
    try {
      const init = prepare({ credentials: "include", cache: "no-store" });
      const answer = await send({ ...transport, baseURL: origin }, pathname + search, init, () => void 0, deadline);
      if (!answer.response.ok) return { ok: false, error: failureOf(answer) };
      const text = await deadline.of(answer.response.text()).catch((error) => Promise.reject(deadline.cutOff(error)));
      return { ok: true, value: JSON.parse(text) };
    } catch (error) {
      if (error instanceof SyntaxError) throw new ApiError(0, `${url} does not answer with JSON`, "malformed_token", { cause: error });
      throw deadline.failed(error);
    } finally {
      deadline.finish();
    }
  }
};
function changed() {
  return new ApiError(0, "Another session has begun; load the page again", "session_changed");
}
function unavailable(cause) {
  return new ApiError(503, "Better Auth could not be asked", "auth_unavailable", { cause });
}
function claimsOf(token) {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims.exp === "number") return { sub: claims.sub, iat: claims.iat, exp: claims.exp };
  } catch {
  }
  throw new ApiError(0, "The token has no exp", "malformed_token");
}

// src/browser.ts
var channelName = "extauthz-api-client";
function browserClient(options = {}) {
  const transport = () => ({
    baseURL: baseURLOf(options.baseURL),
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    sleep: options.sleep ?? sleep,
    random: options.random ?? Math.random,
    retries: options.retries ?? 2
  });
  const timeout = options.timeout ?? 3e4;
  const tokenURL = options.tokenURL ?? "/api/auth/token";
  const sessionURL = options.sessionURL ?? tokenURL.replace(/[?#][^]*$/, "").replace(/[^/]*$/, "get-session");
  const tokens = new Tokens(transport, tokenURL, sessionURL, options.now ?? Date.now);
  const tabs = new Tabs(tokens);
  async function call(path2, given, deadline) {
    const init = given.cache === void 0 ? { ...given, cache: "no-store" } : given;
    const { generation } = tokens;
    const attempt = async () => {
      const token = await deadline.of(tokens.get());
      const authorize = () => {
        tokens.check(generation);
        return `Bearer ${token}`;
      };
      return [token, await send(transport(), path2, init, authorize, deadline)];
    };
    let [used, answer] = await attempt();
    if (answer.response.status === 401 && !(init.body instanceof ReadableStream) && mayRepeat(init.method, answer)) {
      tokens.drop(used);
      tokens.check(generation);
      [used, answer] = await attempt();
    }
    if (answer.response.status === 401) tokens.drop(used);
    if (!isRead(init.method)) return answer;
    const check = () => tokens.check(generation);
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
            }
          }
        }
      ]
    }
  };
}
function mayChangeSession({ method, url }) {
  const path2 = String(url ?? "").replace(/[?#][^]*$/, "");
  return !isRead(method) || /\/(verify|verify-email|callback)(\/|$)|-callback(\/|$)/.test(path2);
}
function baseURLOf(given) {
  if (given === void 0 && globalThis.location === void 0) throw new ApiError(0, "browserClient is called on a server; call serverClient there", "no_browser");
  return given === void 0 ? globalThis.location.origin : new URL(given, globalThis.location?.origin).href;
}
var Tabs = class {
  constructor(tokens) {
    this.listeners = /* @__PURE__ */ new Set();
    if (globalThis.location === void 0 || typeof BroadcastChannel === "undefined") return;
    const changed2 = () => {
      tokens.forget();
      for (const listener of this.listeners) listener();
    };
    this.channel = new BroadcastChannel(channelName);
    this.channel.onmessage = ({ data }) => {
      if (data === null || tokens.isOther(data.session)) changed2();
    };
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) changed2();
    });
    globalThis.document?.addEventListener("resume", changed2);
  }
  tell(message) {
    this.channel?.postMessage(message);
  }
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
};

// src/server.ts
function serverClient(options) {
  const timeout = options.timeout ?? 1e4;
  const transport = {
    baseURL: options.baseURL,
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
    // as it is when called: frameworks replace it
    sleep: options.sleep ?? sleep,
    random: options.random ?? Math.random,
    retries: options.retries ?? 1
  };
  const name = options.cookieName ?? "better-auth.session_token";
  return clientOf(async (path2, init, deadline) => {
    const token = sessionToken(await options.cookie(), name);
    if (token === void 0) throw new ApiError(401, "Not signed in", "unauthenticated");
    const cached = init.cache !== void 0 || init.next !== void 0;
    return send(transport, path2, cached ? init : { ...init, cache: "no-store" }, () => `Bearer ${token}`, deadline);
  }, timeout);
}
function sessionToken(header, name) {
  const pairs = (header ?? "").split(";").map((pair) => pair.trim());
  for (const wanted of [`__Secure-${name}=`, `${name}=`]) {
    const found = pairs.find((pair) => pair.startsWith(wanted));
    if (found !== void 0 && found.length > wanted.length) return found.slice(wanted.length);
  }
  return void 0;
}

exports.ApiError = ApiError;
exports.browserClient = browserClient;
exports.path = path;
exports.serverClient = serverClient;
