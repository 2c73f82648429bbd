import { ApiProblem, readProblem, unreachable } from "./problem";

type Query = Record<string, string | number | boolean | null | undefined>;

export interface Call {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
}

/** Who is told when a session has ended; the router sets it. */
let onSignedOut: (() => void) | null = null;
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/** One request; the answer's JSON, or an `ApiProblem`. */
export async function request<T>(method: "GET" | "POST" | "PUT" | "DELETE", path: string, call: Call = {}): Promise<T> {
  let response: Response;
  try {
    const init: RequestInit = { method, credentials: "same-origin", headers: { accept: "application/json" } };
    if (call.body !== undefined) {
      init.body = JSON.stringify(call.body);
      init.headers = { accept: "application/json", "content-type": "application/json" };
    }
    if (call.signal) init.signal = call.signal;
    response = await fetch(path + queryText(call.query), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  const body = await readBody(response);
  if (!response.ok) {
    if (response.status === 401 && !path.endsWith("/session")) onSignedOut?.();
    throw readProblem(response.status, body);
  }
  if (body === BROKEN) throw new ApiProblem(response.status, "unexpected_answer", `The answer of ${path} is not JSON.`, "A proxy between you and Tetrad may have replaced it.");
  return body as T;
}

const BROKEN = Symbol("broken");

async function readBody(response: Response): Promise<unknown> {
  if (response.status === 204) return undefined;
  const text = await response.text();
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return BROKEN;
  }
}

/** `?a=1&b=x` without the empty ones. */
export function queryText(query: Query | undefined): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) if (value !== undefined && value !== null && value !== "") params.set(key, String(value));
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** `/api/v1/projects/{project}/…`, every part encoded. */
export function inProject(project: string, ...parts: string[]): string {
  return ["/api/v1/projects", encodeURIComponent(project), ...parts.map(encodeURIComponent)].join("/");
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}
