import type { Deadline } from "./deadline";
import type { Answer } from "./request";

/** Ends the deadline of a body that nobody read and nobody holds any more. Some runtimes cannot tell, and keep it as long as the signal. */
const forgotten = typeof FinalizationRegistry === "undefined" ? undefined : new FinalizationRegistry<Deadline>((deadline) => deadline.finish());

/**
 * The answer, with a body whose end is the deadline's, too: so that a signal of a page's whole life does not gather one for each download. What is read of
 * it fails as calls do, by an ApiError, and also where it is not any more for who is there.
 */
export function guarded({ response, check }: Answer, deadline: Deadline): Response {
  if (response.body === null) return response;
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
          controller.error(deadline.cutOff(error));
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
  return likewise(new Response(body, { status, statusText, headers }), response);
}

/** Gives an answer what a constructor does not, and its clones. */
function likewise(answer: Response, { url, redirected, type }: Response): Response {
  const clone = () => likewise(Response.prototype.clone.call(answer), answer);
  return Object.defineProperties(answer, { url: { value: url }, redirected: { value: redirected }, type: { value: type }, clone: { value: clone } });
}
