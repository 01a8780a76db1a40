import vitals from "eslint-config-next/core-web-vitals";
import typescript from "eslint-config-next/typescript";

const config = [{ ignores: [".next/", "client/dist/", "client/test/dist/", "next-env.d.ts"] }, ...vitals, ...typescript];

export default config;
