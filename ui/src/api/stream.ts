import { ApiProblem, readProblem } from "./problem";

/** An event of a stream (the format of `text/event-stream`): its name, `message` where none is given, and its data. */
export interface StreamEvent {
  name: string;
  data: string;
}

/** Cuts events out of text that comes in any pieces. */
export class EventReader {
  private rest = "";

  /** The events that are whole now. */
  push(text: string): StreamEvent[] {
    const blocks = (this.rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(readBlock).filter((event) => event.data !== "");
  }
}

function readBlock(block: string): StreamEvent {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return { name, data: data.join("\n") };
}

export interface Usage {
  input: number;
  output: number;
}

/** What one event says of an answer. */
export type Told =
  | { kind: "start"; trace_id: string; model: string; unused: string[] }
  | { kind: "text"; text: string }
  | { kind: "usage"; usage: Usage }
  | { kind: "finish"; reason: string }
  | { kind: "problem"; problem: ApiProblem };

/** Reads an event of the playground; what cannot be read says nothing. */
export function readEvent(event: StreamEvent): Told[] {
  let value: unknown;
  try {
    value = JSON.parse(event.data);
  } catch {
    return [];
  }
  if (!isObject(value)) return [];
  if (event.name === "problem") return [...(text(value.trace_id) === "" ? [] : [{ kind: "start" as const, trace_id: text(value.trace_id), model: "", unused: [] }]), { kind: "problem", problem: readProblem(typeof value.status === "number" ? value.status : 500, value) }];
  if (event.name === "start")
    return [{ kind: "start", trace_id: text(value.trace_id), model: text(value.model), unused: Array.isArray(value.unused_variables) ? value.unused_variables.filter((v) => typeof v === "string") : [] }];
  const told: Told[] = [];
  if (isObject(value.error)) return [{ kind: "problem", problem: new ApiProblem(502, text(value.error.code) || "upstream_failed", text(value.error.message) || "The model stopped answering.", "Try again; the trace tells more.") }];
  const choice: unknown = Array.isArray(value.choices) ? value.choices[0] : undefined;
  if (isObject(choice)) {
    const delta = isObject(choice.delta) ? choice.delta : {};
    if (typeof delta.content === "string" && delta.content !== "") told.push({ kind: "text", text: delta.content });
    if (Array.isArray(delta.tool_calls)) {
      for (const call of delta.tool_calls) {
        const named = isObject(call) && isObject(call.function) ? call.function : {};
        told.push({ kind: "text", text: `${text(named.name) === "" ? "" : `\n→ ${text(named.name)} `}${text(named.arguments)}` });
      }
    }
    if (typeof choice.finish_reason === "string") told.push({ kind: "finish", reason: choice.finish_reason });
  }
  if (isObject(value.usage)) told.push({ kind: "usage", usage: { input: number(value.usage.prompt_tokens), output: number(value.usage.completion_tokens) } });
  return told;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
