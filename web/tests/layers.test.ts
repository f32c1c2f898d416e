import { readdirSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const SRC = resolve(import.meta.dirname, "../src");

/** What each layer may import: itself and those named. React only from `ui` on. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  wire: ["lib"],
  socket: ["lib", "wire"],
  api: ["lib", "wire"],
  model: ["lib", "wire"],
  ui: ["lib"],
  features: ["lib", "wire", "api", "socket", "model", "ui"],
  app: ["lib", "wire", "api", "socket", "model", "ui", "features"],
};
const WITH_REACT = new Set(["ui", "features", "app"]);

interface Import {
  readonly file: string;
  readonly layer: string;
  readonly feature: string | null;
  readonly target: string;
}

function imports(): readonly Import[] {
  const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter(
    (file) => /\.tsx?$/.test(file) && !/\.test\.tsx?$/.test(file) && file.includes("/"),
  );
  return files.flatMap((file) => {
    const [layer = "", folder = ""] = file.split("/");
    const feature = layer === "features" && file.split("/").length > 2 ? folder : null;
    const text = readFileSync(resolve(SRC, file), "utf8");
    return [...text.matchAll(/(?:from|import) "([^"]+)"/g)].map((match) => {
      const target = match[1] ?? "";
      const inside = target.startsWith(".") ? relative(SRC, resolve(SRC, dirname(file), target)) : target;
      return { file, layer, feature, target: inside };
    });
  });
}

const outside = (target: string): boolean => !/\.(tsx?|css)$/.test(target);

describe("the layers of the client", () => {
  const all = imports();

  it("are all known here", () => {
    expect(all.length).toBeGreaterThan(100);
    expect([...new Set(all.map((entry) => entry.layer))].filter((layer) => MAY[layer] === undefined)).toEqual(
      [],
    );
  });

  it("import downwards only", () => {
    const wrong = all.filter(({ layer, target }) => {
      if (outside(target)) return false;
      const below = target.split("/")[0] ?? "";
      return below !== layer && !(MAY[layer] ?? []).includes(below);
    });
    expect(wrong).toEqual([]);
  });

  it("keep React out of everything below the screen", () => {
    const wrong = all.filter(
      ({ layer, target }) => /^(react|@tanstack)/.test(target) && !WITH_REACT.has(layer),
    );
    expect(wrong).toEqual([]);
  });

  it("keep features apart from each other", () => {
    const wrong = all.filter(({ feature, target }) => {
      const [layer, other, file] = target.split("/");
      return feature !== null && layer === "features" && file !== undefined && other !== feature;
    });
    expect(wrong).toEqual([]);
  });

  it("open a WebSocket in one place", () => {
    const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((file) =>
      /\.tsx?$/.test(file),
    );
    const opening = files.filter((file) =>
      /\bnew WebSocket\(/.test(readFileSync(resolve(SRC, file), "utf8")),
    );
    expect(opening).toEqual(["socket/transport.ts"]);
  });
});
