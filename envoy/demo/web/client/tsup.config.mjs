// The package as it is committed in dist/: an ES module and a CommonJS one, with their types. Who installs it needs no compiler.
const config = {
  entry: ["src/index.ts"],
  format: ["esm", "cjs"],
  target: "es2022",
  dts: true,
  clean: true,
  treeshake: true,
};

export default config;
