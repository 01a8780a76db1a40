import { ApiError } from "./errors";

/**
 * Where a call goes: the path below the base URL, whose own path is kept. A credential is for that one place, so that what leads elsewhere is
 * refused before anything is sent: another origin, however it is spelt (`//host`, `/\host`), and what climbs out by `..`.
 */
export function resolve(path: string, baseURL: string): URL {
  const base = new URL(baseURL);
  if (!/^https?:$/.test(base.protocol)) throw new TypeError(`the base URL is "${baseURL}"; write one like https://app.example.com`);
  const root = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
  let url: URL | undefined;
  try {
    url = isAbsolute(path) ? new URL(path, base) : new URL(root + path.replace(/^\//, ""), base);
  } catch {
    // Below.
  }
  if (url === undefined || url.origin !== base.origin || url.username !== "" || url.password !== "" || !`${url.pathname}/`.startsWith(root)) {
    throw new ApiError(0, `The path leads out of ${base.origin}${root}; call it without this client`, "foreign_url");
  }
  return url;
}

/** What a browser reads as a URL with a host or a scheme of its own; it skips control characters and takes `\` for `/`. */
function isAbsolute(path: string): boolean {
  const read = path.replace(/[\u0000-\u0020]/g, "").replaceAll("\\", "/");
  return read.startsWith("//") || /^[a-z][a-z0-9+.-]*:/i.test(read);
}

/**
 * A path with its values escaped, for functions that name an endpoint:
 *
 *     const user = (userId: string) => path`/api/users/${userId}`;
 *
 * A value never becomes another segment, also where it is `..` or holds a slash.
 */
export function path(parts: TemplateStringsArray, ...values: (string | number)[]): string {
  return parts.reduce((whole, part, i) => whole + escaped(String(values[i - 1])) + part);
}

function escaped(value: string): string {
  if (value === "" || value === "." || value === "..") throw new TypeError(`A path cannot hold "${value}" as a value`);
  return encodeURIComponent(value);
}
