/** An error as a person can act on it: what happened, what to do next, whether trying again may help. */
export class ApiProblem extends Error {
  override readonly name = "ApiProblem";

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint = "",
    readonly requestId = "",
    readonly errors: readonly { loc: string; msg: string }[] = [],
  ) {
    super(message);
  }

  /** Nothing answered, or what answered is not well: the same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Reads problem+JSON (RFC 9457); whatever else came is told by its status. */
export function readProblem(status: number, body: unknown): ApiProblem {
  if (isObject(body)) {
    const errors = Array.isArray(body.errors)
      ? body.errors.filter(isObject).map((e) => ({ loc: Array.isArray(e.loc) ? e.loc.join(".") : text(e.loc), msg: text(e.msg) }))
      : [];
    const message = text(body.detail) || text(body.title);
    if (message !== "") return new ApiProblem(status, text(body.code) || "error", sentence(message), sentence(text(body.hint)), text(body.request_id), errors);
  }
  if (status === 502 || status === 503 || status === 504) return unreachable();
  return new ApiProblem(status, "unexpected_answer", `The control plane answered with status ${status}, and without saying why.`, "See its log: `tetrad logs control`.");
}

/** What a fetch that found nobody means. */
export function unreachable(): ApiProblem {
  return new ApiProblem(0, "unreachable", "The control plane does not answer.", "Is it running? `tetrad status` tells; `tetrad up` starts it. This page goes on by itself once it is back.");
}

/** Any thrown thing as a problem. */
export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  if (error instanceof Error && /dynamically imported module|preload CSS|module script/i.test(error.message))
    return new ApiProblem(0, "not_loaded", "A part of the console could not be loaded.", "The control plane does not answer, or it was updated: try again, or reload the page.");
  if (error instanceof TypeError && /fetch|network|load failed/i.test(error.message)) return unreachable();
  return new ApiProblem(-1, "console_error", error instanceof Error ? error.message : String(error), "This is a fault of the console, not of your data. Reloading the page may help.");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function sentence(value: string): string {
  return value.charAt(0).toUpperCase() + value.slice(1);
}
