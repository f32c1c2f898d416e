import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The empty file that keeps `dist/` in the repository, so that the server compiles before the first web build. */
function keepDist(): Plugin {
  let dist = "";
  return {
    name: "hubbub-keep-dist",
    apply: "build",
    configResolved(config) {
      dist = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      writeFileSync(resolve(dist, ".gitkeep"), "");
    },
  };
}

const { version } = JSON.parse(readFileSync(new URL("./package.json", import.meta.url), "utf8")) as {
  version: string;
};

const server = process.env.HUBBUB_DEV_SERVER ?? "http://127.0.0.1:8080";

// The server compares Origin with its own address; in development the page comes from another port, so both headers are rewritten.
const proxy = {
  "/api": {
    target: server,
    ws: true,
    changeOrigin: true,
    headers: { origin: server },
  },
};

export default defineConfig({
  define: { __APP_VERSION__: JSON.stringify(version) },
  plugins: [react(), keepDist()],
  server: { host: "127.0.0.1", port: 5173, proxy },
  preview: { host: "127.0.0.1", port: 4173 },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    assetsDir: "assets",
    // A data: URI would need its own exception in the content security policy.
    assetsInlineLimit: 0,
    target: "es2022",
    reportCompressedSize: true,
  },
  test: {
    include: ["src/**/*.test.{ts,tsx}", "tests/*.test.{ts,tsx}"],
    environment: "node",
    restoreMocks: true,
  },
});
