import createClient from "openapi-fetch";
import { ApiProblem, readProblem, unreachable } from "./problem";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** Who is told when a session has ended; the router sets it. */
let onSignedOut: (() => void) | null = null;
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/** The control plane, typed by its own description; give what it returns to `answer`. */
export const control = createClient<paths>({
  baseUrl: globalThis.location.origin,
  credentials: "same-origin",
  // Looked up at each call, so that tests may replace it.
  fetch: (request) => globalThis.fetch(request),
});

interface Outcome<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer, or an `ApiProblem` that says why there is none. */
export async function answer<T>(call: Promise<Outcome<T>>): Promise<T> {
  let outcome: Outcome<T>;
  try {
    outcome = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    if (error instanceof SyntaxError) throw new ApiProblem(-1, "unexpected_answer", "The control plane's answer is not JSON.", "A proxy between you and Tetrad may have replaced it.");
    throw unreachable();
  }
  const { response } = outcome;
  if (!response.ok) {
    if (response.status === 401 && !response.url.endsWith("/api/v1/session")) onSignedOut?.();
    throw readProblem(response.status, outcome.error);
  }
  return outcome.data as T;
}

/** `?a=1&b=x` without the empty ones. */
/** A list that is wanted whole, read page by page. */
export async function everything<T>(read: (cursor: { cursor?: string }) => Promise<{ items: T[]; next_cursor?: string | null }>): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const page = await read(cursor === "" ? {} : { cursor });
    items.push(...page.items);
    cursor = page.next_cursor ?? null;
  }
  return items;
}

export function queryText(query: Record<string, string | number | boolean | null | undefined>): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined && value !== null && value !== "") params.set(key, String(value));
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}
