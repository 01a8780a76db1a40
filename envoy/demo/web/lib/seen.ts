/** A header that reached the backend, name and value, by its own account (`/api/headers`). */
export type Header = [name: string, value: string];

/** What the backend saw of who calls. */
export interface Seen {
  /** The identity headers, decoded. */
  headers: Header[];
  /** How long Envoy waited for the check, in milliseconds, by its own account. */
  checkMilliseconds: number | undefined;
}

const checkTime = "x-check-ms"; // which the demo's Envoy adds

export function seenOf(all: Header[]): Seen {
  const milliseconds = Number(all.find(([name]) => name === checkTime)?.[1] ?? Number.NaN);
  return {
    headers: all.filter(([name]) => name.startsWith("x-user-") || name.startsWith("x-auth-")).map(([name, text]) => [name, decoded(text)]),
    checkMilliseconds: Number.isFinite(milliseconds) ? milliseconds : undefined,
  };
}

/** A header's value, percent-decoded as extauthz encodes it; as it stands where it is not of that form. */
function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

const units: [Intl.RelativeTimeFormatUnit, seconds: number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** A time in words, as seen from now: "in 15 minutes". Both in milliseconds since 1970. */
export function inWords(time: number, now: number): string {
  const seconds = Math.round((time - now) / 1000);
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length * 0.95) ?? ["second", 1];
  return words.format(Math.round(seconds / size), unit);
}
