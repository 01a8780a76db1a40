import { abortedBy, ApiError, thrown } from "./errors";

/** What a timer holds, in milliseconds; one of more would end at once. */
const longest = 2 ** 31 - 1;

/** One call's end: the caller's signal, and its own time-out. */
export class Deadline {
  private readonly controller = new AbortController();
  private readonly timer: ReturnType<typeof setTimeout>;
  private readonly end: number;
  private readonly leave: () => void;
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
    this.leave = whenAborted(callers, () => this.controller.abort(callers?.reason));
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
    this.leave();
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

  /** What a fetch threw. */
  thrown(error: unknown): ApiError {
    return thrown(error, this.callers, this.timedOut);
  }

  /** What an answer's body threw, of which a part may have come. */
  cutOff(error: unknown): ApiError {
    const failed = this.thrown(error);
    return failed !== error && failed.code === "unreachable" ? new ApiError(0, "The answer was cut off", "cut_off", { cause: error }) : failed;
  }

  /** What a call threw. What neither fetch nor the deadline threw came before anything was sent, and says nothing about the server. */
  failed(error: unknown): ApiError {
    const found = this.thrown(error);
    if (found === error || found.code !== "unreachable") return found;
    return new ApiError(0, `The call could not be made: ${error instanceof Error ? error.message : String(error)}`, "not_sent", { cause: error });
  }
}

/** Those who wait for a signal. It has one listener of ours, however many calls share it, as all of a page's do. */
class Waiting {
  private readonly stops = new Set<() => void>();

  handleEvent(): void {
    for (const stop of this.stops) stop();
  }

  add(signal: AbortSignal, stop: () => void): () => void {
    if (this.stops.size === 0) signal.addEventListener("abort", this);
    this.stops.add(stop);
    return () => {
      if (this.stops.delete(stop) && this.stops.size === 0) signal.removeEventListener("abort", this);
    };
  }
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/** Calls back when the signal ends, at once where it has; returns what ends the waiting. */
function whenAborted(signal: AbortSignal | null | undefined, stop: () => void): () => void {
  if (signal?.aborted) stop();
  if (signal == null || signal.aborted) return () => {};
  const those = waiting.get(signal) ?? new Waiting();
  waiting.set(signal, those);
  return those.add(signal, stop);
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
