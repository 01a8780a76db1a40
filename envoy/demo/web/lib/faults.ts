/** What Better Auth's client says of a failure; no status where no answer came. */
export interface AuthFailure {
  status?: number;
  code?: string | undefined;
  message?: string | undefined;
}

/** What a form shows: a text, and the field that it is about. */
export interface Fault {
  text: string;
  field?: "name" | "email" | "password";
  /** The credentials were refused: the password is asked for anew. */
  refused?: boolean;
}

/** A failure in words for the person. `wait` is what X-Retry-After says, in seconds. */
export function faultOf({ status = 0, code, message }: AuthFailure, wait?: string | null): Fault {
  if (status === 429) {
    const seconds = Number(wait);
    return { text: `Too many attempts. Try again in ${seconds > 0 ? `${seconds} seconds` : "a moment"}.` };
  }
  if (status === 0 || status >= 500) return { text: "That cannot be done just now. Nothing you typed is lost; try again in a moment." };
  if (code === "INVALID_EMAIL" || (status === 400 && /email/i.test(message ?? "") && code !== "INVALID_EMAIL_OR_PASSWORD")) {
    return { text: "This is no e-mail address. Write one like name@example.com.", field: "email" };
  }
  if (code === "PASSWORD_TOO_SHORT") return { text: "The password is too short: eight characters or more.", field: "password" };
  if (code === "PASSWORD_TOO_LONG") return { text: "The password is too long: 128 characters at most.", field: "password" };
  if (code?.startsWith("USER_ALREADY_EXISTS")) return { text: "There is already an account with this e-mail address.", field: "email" };
  if (status === 401) return { text: "Wrong e-mail address or password.", refused: true };
  return { text: `${message ?? "That did not work"}.`.replace(/\.\.$/, ".") };
}
