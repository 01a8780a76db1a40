/** What came of a request; status 0 where no answer came. */
export interface Outcome {
  status: number;
  body: string;
}

/** What an answer shows about an attack: that it failed, that it did not, or nothing. */
export interface Verdict {
  is: "held" | "broken" | "open";
  text: string;
}

/** The verdict on an attack that must be refused, from the answer that came. */
export function refusal(status: number): (outcome: Outcome) => Verdict {
  return (outcome) => {
    if (outcome.status === status) return { is: "held", text: "Refused, as it should be." };
    return undecided(outcome) ?? { is: "broken", text: `Answered with ${outcome.status}, where ${status} is right.` };
  };
}

/** The verdict on a request that brings x-user-id of its own: it is right when the backend got the caller's. */
export function staysOneself(userId: string, name: string): (outcome: Outcome) => Verdict {
  return (outcome) => {
    if (outcome.status !== 200) return undecided(outcome) ?? { is: "broken", text: `Answered with ${outcome.status}, where 200 is right.` };
    const ids = idsOf(outcome.body);
    if (ids?.length === 1 && ids[0] === userId) return { is: "held", text: `You stayed ${name}, not admin.` };
    return { is: "broken", text: ids === undefined ? "The backend’s answer cannot be read." : `The backend took you for ${ids.join(", ") || "nobody"}.` };
  };
}

/** How long the demo's switch stops the check for, in milliseconds; less than the ten seconds, for the way of an answer. */
const stoppedFor = 9_500;

/** An answer that came so many milliseconds after the check was asked to stop. */
export interface During {
  status: number;
  after: number;
}

/**
 * The verdict on the answers since the check was stopped; undefined while it has not come back. Whoever is answered while it is stopped has passed unchecked,
 * and a 401 takes the outage for a sign-out.
 */
export function outageOf(answers: During[]): Verdict | undefined {
  if (answers.some(({ status }) => status === 401)) return { is: "broken", text: "A call was refused with 401: the outage was taken for a sign-out." };
  if (answers.some(({ status, after }) => status === 200 && after < stoppedFor)) return { is: "broken", text: "A call passed while the check was stopped." };
  if (answers.at(-1)?.status !== 200 || answers.every(({ status }) => status !== 503)) return undefined;
  return { is: "held", text: "It is back, and you are still signed in. Nobody passed meanwhile." };
}

/** An outage decides nothing: nobody passed, and nobody was refused. */
function undecided({ status }: Outcome): Verdict | undefined {
  if (status === 0) return { is: "open", text: "No answer came, so this shows nothing." };
  if (status >= 500) return { is: "open", text: "The check is away: nobody passes meanwhile, and this shows nothing more." };
  return undefined;
}

/** The x-user-id headers of the backend's list of all that it got. */
function idsOf(body: string): string[] | undefined {
  try {
    return (JSON.parse(body) as [string, string][]).filter(([name]) => name.replace(/[^a-z]/gi, "-").toLowerCase() === "x-user-id").map(([, value]) => decodeURIComponent(value));
  } catch {
    return undefined;
  }
}
