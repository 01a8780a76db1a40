/** A header that reached the backend, name and value, by its own account (`/api/headers`). */
export type Header = [name: string, value: string];

/** What the backend saw of who calls. */
export interface Seen {
  headers: Header[];
  method: string;
  issuedAt?: Date;
  expiresAt?: Date;
  /** How long Envoy waited for the check, in milliseconds, by its own account. */
  checkMilliseconds?: number;
}

const checkTime = "x-check-ms"; // which the demo's Envoy adds

export function seenOf(all: Header[]): Seen {
  const value = (name: string) => all.find(([n]) => n === name)?.[1];
  const date = (name: string) => {
    const seconds = value(name);
    return seconds === undefined ? undefined : new Date(Number(seconds) * 1000);
  };
  const milliseconds = Number(value(checkTime));
  return {
    headers: all.filter(([name]) => name.startsWith("x-user-") || name.startsWith("x-auth-")).map(([name, text]) => [name, decoded(text)]),
    method: value("x-auth-method") ?? "none",
    issuedAt: date("x-auth-issued-at"),
    expiresAt: date("x-auth-expires-at"),
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
