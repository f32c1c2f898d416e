/** Small readers that turn `unknown` into a typed value or refuse with the path of what was wrong. */

export class Malformed extends Error {
  constructor(readonly path: string) {
    super(`malformed at ${path === "" ? "top" : path}`);
  }
}

/** Reads a value found at `path`; throws [`Malformed`], which never leaves this folder. */
export type Reader<T> = (value: unknown, path: string) => T;

export const text: Reader<string> = (value, path) => {
  if (typeof value !== "string") throw new Malformed(path);
  return value;
};

/** An integer the protocol promises to stay below 2^53. */
export const count: Reader<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new Malformed(path);
  return value;
};

export const flag: Reader<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw new Malformed(path);
  return value;
};

/** RFC 3339 text to milliseconds since the epoch. */
export const time: Reader<number> = (value, path) => {
  const at = typeof value === "string" ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(at)) throw new Malformed(path);
  return at;
};

export const id =
  <T>(mint: (text: string) => T | null): Reader<T> =>
  (value, path) => {
    const made = typeof value === "string" ? mint(value) : null;
    if (made === null) throw new Malformed(path);
    return made;
  };

export const oneOf =
  <const T extends string>(...words: readonly T[]): Reader<T> =>
  (value, path) => {
    const found = words.find((word) => word === value);
    if (found === undefined) throw new Malformed(path);
    return found;
  };

/** Absent and null are the same to us: "not there". */
export const maybe =
  <T>(reader: Reader<T>): Reader<T | null> =>
  (value, path) =>
    value === undefined || value === null ? null : reader(value, path);

export const or =
  <T>(reader: Reader<T>, fallback: T): Reader<T> =>
  (value, path) =>
    value === undefined || value === null ? fallback : reader(value, path);

export const list =
  <T>(reader: Reader<T>): Reader<readonly T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) throw new Malformed(path);
    return value.map((item: unknown, index) => reader(item, `${path}[${index}]`));
  };

export type Fields = Readonly<Record<string, unknown>>;

export const fields: Reader<Fields> = (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(path);
  return value as Fields;
};

/** An object read field by field; unknown fields are ignored, as PROTOCOL.md asks of clients. */
export const object =
  <T extends object>(shape: { readonly [K in keyof T]: Reader<T[K]> }): Reader<T> =>
  (value, path) => {
    const source = fields(value, path);
    const out: Partial<T> = {};
    for (const key of Object.keys(shape) as (keyof T & string)[]) {
      out[key] = shape[key](source[key], path === "" ? key : `${path}.${key}`);
    }
    return out as T;
  };
