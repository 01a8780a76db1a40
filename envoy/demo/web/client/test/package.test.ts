import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const folder = fileURLToPath(new URL("../../", import.meta.url));
const scratch = () => mkdtempSync(join(folder, "test/dist/scratch-"));

/** The README's snippets, by the file that their first comment names, or by their number. */
function snippets(): Map<string, string> {
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  const found = new Map<string, string>();
  for (const [, kind = "", text = ""] of readme.matchAll(/^```(tsx?)\n([^]*?)^```/gm)) {
    const name = /^\/\/ ([a-z-]+\/[a-z-]+\.tsx?)/.exec(text)?.[1] ?? `lib/snippet-${found.size}.${kind}`;
    found.set(name, text);
  }
  return found;
}

test("the README's snippets compile, each as a module of a Next.js project", () => {
  const project = scratch();
  try {
    const files = [...snippets()].map(([name, text]) => {
      const file = join(project, name);
      mkdirSync(join(file, ".."), { recursive: true });
      writeFileSync(file, `${text}\nexport {};\n`);
      return file;
    });
    assert.ok(files.length >= 6, `${files.length} snippets`);
    const program = ts.createProgram(files, {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      jsx: ts.JsxEmit.ReactJSX,
      lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      types: ["node"],
    });
    const faults = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
    assert.deepEqual(faults, []);
  } finally {
    rmSync(project, { recursive: true });
  }
});

test("dist/ is what src/ compiles to", () => {
  const built = scratch();
  try {
    const tsup = join(createRequire(import.meta.url).resolve("tsup"), "../cli-default.js");
    execFileSync(process.execPath, [tsup, "--out-dir", built, "--silent"], { cwd: folder, stdio: "pipe" });
    for (const file of ["index.js", "index.cjs", "index.d.ts", "index.d.cts"]) {
      assert.equal(readFileSync(join(folder, "dist", file), "utf8"), readFileSync(join(built, file), "utf8"), `${file} is stale: npm run build`);
    }
  } finally {
    rmSync(built, { recursive: true });
  }
});

test("require gets the same as import", async () => {
  const required = createRequire(import.meta.url)("extauthz-api-client") as object;
  assert.deepEqual(Object.keys(required).sort(), Object.keys(await import("extauthz-api-client")).sort());
});
