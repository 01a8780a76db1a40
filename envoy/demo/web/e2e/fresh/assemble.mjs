// Makes a new Next.js project by its own generator, takes the client in as its README says, and builds it: `node assemble.mjs FOLDER`.
// What is there already from the same files is left.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const client = join(here, "../../client");
const target = process.argv[2];
const generator = "create-next-app@16.4.3";
const betterAuth = JSON.parse(await readFile(join(here, "../../package.json"), "utf8")).dependencies["better-auth"];

const readme = await readFile(join(client, "README.md"), "utf8");
const snippet = (file) => {
  const found = new RegExp(`^\`\`\`tsx?\n(// ${file}.*?)^\`\`\``, "ms").exec(readme)?.[1];
  if (found === undefined) throw new Error(`the README has no snippet for ${file}`);
  return found;
};

/** What somebody writes who follows the README; the pages are their own. */
const files = {
  "lib/api.ts": snippet("lib/api.ts"),
  "lib/auth-client.ts": snippet("lib/auth-client.ts"),
  "components/identify.tsx": snippet("components/identify.tsx"),
  "components/me.tsx": await readFile(join(here, "me.tsx.txt"), "utf8"),
  // The generator's own loads a font from Google, which a machine without network cannot.
  "app/layout.tsx": `export default function Layout({ children }: { children: React.ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
`,
  "app/page.tsx": await readFile(join(here, "page.tsx.txt"), "utf8"),
  "app/copied/page.tsx": (await readFile(join(here, "page.tsx.txt"), "utf8")).replaceAll('"extauthz-api-client"', '"@/lib/extauthz-api-client"'),
};

const stamp = join(dirname(target), `${target.split("/").at(-1)}.stamp`);
const hash = createHash("sha256").update(JSON.stringify([generator, betterAuth, files]));
const copied = (path) => !path.includes("node_modules") && !path.endsWith("/test/dist");
for (const file of (await readdir(client, { recursive: true, withFileTypes: true })).filter((file) => file.isFile()).map(({ parentPath, name }) => join(parentPath, name)).sort()) {
  if (!relative(client, file).startsWith("test/dist/") && copied(file)) hash.update(relative(client, file)).update(await readFile(file));
}
const wanted = hash.digest("hex");
if ((await readFile(stamp, "utf8").catch(() => "")) === wanted) process.exit(0);

console.log("making a new Next.js project with the client in it …");
const run = (command, ...args) => execFileSync(command, args, { cwd: target, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" } });
try {
  await rm(target, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  execFileSync("npx", ["--yes", generator, target, "--ts", "--app", "--no-tailwind", "--no-eslint", "--no-src-dir", "--import-alias", "@/*", "--use-npm", "--skip-install", "--disable-git", "--yes"], { stdio: "pipe" });
  await cp(client, join(target, "client"), { recursive: true, filter: copied });
  await cp(join(client, "src"), join(target, "lib/extauthz-api-client"), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(target, dirname(name)), { recursive: true });
    await writeFile(join(target, name), text);
  }
  run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "./client", `better-auth@${betterAuth}`);
  run("npx", "next", "build");
  // As an image is made: without what only development needs.
  run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev");
} catch (error) {
  console.error(String(error.stdout ?? ""), String(error.stderr ?? error));
  process.exit(1);
}
await writeFile(stamp, wanted);
