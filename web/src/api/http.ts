/**
 * REST in one function: JSON in, decoded answer or typed refusal out. Nothing here retries or redirects; the caller knows what to do.
 *
 * Never: a global reaction to a status; a thrown error for an answer the server gave.
 */
import { decodeBody } from "../wire/decode.ts";
import { type Fields, fields, type Reader } from "../wire/shape.ts";

/** What the caller can act on. `network` leaves the outcome open; every other code is the server's word. */
export interface ApiError {
  readonly code: string;
  readonly detail: string;
  readonly retry_after_ms: number | null;
  /** Field name to what is wrong with it, for forms. */
  readonly fields: Readonly<Record<string, string>>;
}

export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: ApiError };

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "PATCH";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | null>>;
  readonly body?: unknown;
  /** Names the attempt, so that repeating it is safe. */
  readonly key?: string;
}

export type Fetch = (path: string, init: RequestInit) => Promise<Response>;

/** How long an answer may take; the server's own deadline is shorter. */
const ANSWER_MS = 15_000;

const BASE = "/api/v1";

function url({ path, query }: Request): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null) params.set(name, String(value));
  }
  const tail = params.toString();
  return `${BASE}${path}${tail === "" ? "" : `?${tail}`}`;
}

function lost(code: "network" | "protocol"): ApiError {
  return { code, detail: "", retry_after_ms: null, fields: {} };
}

function recordOf(value: unknown): Fields {
  const read = decodeBody(fields, value);
  return read.ok ? read.value : {};
}

function fieldErrors(value: unknown): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, detail] of Object.entries(recordOf(value))) {
    if (typeof detail === "string") out[name] = detail;
  }
  return out;
}

function problem(status: number, body: unknown): ApiError {
  const read = recordOf(body);
  return {
    code: typeof read.code === "string" ? read.code : status === 401 ? "unauthenticated" : "unavailable",
    detail: typeof read.detail === "string" ? read.detail : "",
    retry_after_ms: typeof read.retry_after_ms === "number" ? read.retry_after_ms : null,
    fields: fieldErrors(read.fields),
  };
}

export async function call<T>(fetch: Fetch, request: Request, reader: Reader<T>): Promise<Answer<T>> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (request.body !== undefined) headers["content-type"] = "application/json";
  if (request.key !== undefined) headers["idempotency-key"] = request.key;
  let body: unknown;
  try {
    const response = await fetch(url(request), {
      method: request.method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
    });
    const payload = await response.text();
    body = payload === "" ? null : (JSON.parse(payload) as unknown);
    if (!response.ok) return { ok: false, error: problem(response.status, body) };
  } catch (error) {
    return { ok: false, error: lost(error instanceof SyntaxError ? "protocol" : "network") };
  }
  const read = decodeBody(reader, body);
  return read.ok ? read : { ok: false, error: lost("protocol") };
}
