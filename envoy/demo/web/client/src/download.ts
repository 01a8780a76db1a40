import type { Deadline } from "./deadline";
import type { ApiError } from "./errors";
import type { Answer } from "./request";

/** Ends the deadline of a body that nobody read and nobody holds any more. Some runtimes cannot tell, and keep it as long as the signal. */
const forgotten = typeof FinalizationRegistry === "undefined" ? undefined : new FinalizationRegistry<Deadline>((deadline) => deadline.finish());

/**
 * The answer, with a body whose end is the deadline's, too: so that a signal of a page's whole life does not gather one for each download. What is read of
 * it fails as calls do, by an ApiError, and also where it is not any more for who is there.
 */
export function guarded({ response, check }: Answer, deadline: Deadline): Response {
  if (response.body === null) return response;
  const end: { failure?: ApiError } = {};
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined; // taken when it is first read: fetch lets go of an answer that is never read
  const bodyReader = () => (reader ??= (response.body as ReadableStream<Uint8Array>).getReader());
  const body = new ReadableStream<Uint8Array>(
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
          bodyReader().cancel(error).catch(() => {});
          controller.error((end.failure = deadline.cutOff(error)));
        }
      },
      cancel(reason) {
        deadline.finish();
        return bodyReader().cancel(reason);
      },
    },
    { highWaterMark: 0 }, // nothing is read before somebody asks
  );
  forgotten?.register(body, deadline);
  const { status, statusText, headers } = response;
  return likewise(new Response(body, { status, statusText, headers }), response, end);
}

const readers = ["arrayBuffer", "blob", "bytes", "formData", "json", "text"] as const;

/** Gives an answer what a constructor does not, and its clones; and the error that ended its body, for which Chromium puts another. */
function likewise(answer: Response, { url, redirected, type }: Response, end: { failure?: ApiError }): Response {
  const own: Record<string, unknown> = { url, redirected, type, clone: () => likewise(Response.prototype.clone.call(answer), answer, end) };
  for (const name of readers) {
    const read = (answer as Partial<Response>)[name]; // bytes() is not everywhere
    if (read !== undefined) own[name] = () => read.call(answer).catch((error: unknown) => Promise.reject(end.failure ?? error));
  }
  for (const [name, value] of Object.entries(own)) Object.defineProperty(answer, name, { value });
  return answer;
}
