/**
 * Reads the recorded input and output of a span as a conversation, whichever protocol wrote it: OpenAI chat requests,
 * responses and the Responses API, Anthropic messages, OpenTelemetry GenAI messages with parts, or a bare text. What it
 * does not know stays visible as JSON.
 */

export type Role = "system" | "user" | "assistant" | "tool" | "other";

export type Part =
  | { kind: "text"; text: string }
  | { kind: "reasoning"; text: string }
  | { kind: "call"; id: string; name: string; arguments: string }
  | { kind: "result"; id: string; text: string }
  | { kind: "media"; label: string; source: string }
  | { kind: "json"; value: unknown };

export interface Message {
  role: Role;
  /** The role as it was written, where it is none of ours. */
  label: string;
  name: string;
  parts: Part[];
  finish: string;
}

type Json = Record<string, unknown>;

const ROLES: Record<string, Role> = {
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  assistant: "assistant",
  model: "assistant",
  ai: "assistant",
  tool: "tool",
  function: "tool",
};

/** The messages of one side of a call, in order; null where it is no conversation (an embedding, a tool's input). */
export function readMessages(value: unknown, side: "input" | "output"): Message[] | null {
  if (value === null || value === undefined || value === "") return [];
  if (typeof value === "string") {
    const parsed = tryJson(value);
    return parsed === undefined ? [message(side === "input" ? "user" : "assistant", [{ kind: "text", text: value }])] : readMessages(parsed, side);
  }
  if (Array.isArray(value)) return value.length > 0 && value.every(looksLikeMessage) ? value.map((item) => readMessage(item)) : null;
  if (!isObject(value)) return null;
  return side === "input" ? readRequest(value) : readAnswer(value);
}

function readRequest(body: Json): Message[] | null {
  const head = readSystem(body.system ?? body.system_instructions ?? body.instructions);
  const list = body.messages ?? (Array.isArray(body.input) && (body.input as unknown[]).every(looksLikeMessage) ? (body.input as unknown[]) : undefined);
  if (Array.isArray(list)) return [...head, ...(list as unknown[]).map((item) => readMessage(isObject(item) ? item : { role: "user", content: item }))];
  if (typeof body.prompt === "string") return [...head, message("user", [{ kind: "text", text: body.prompt }])];
  if (typeof body.input === "string" && head.length > 0) return [...head, message("user", [{ kind: "text", text: body.input }])];
  return looksLikeMessage(body) ? [readMessage(body)] : null;
}

function readSystem(system: unknown): Message[] {
  const parts = readContent(system);
  return parts.length > 0 ? [message("system", parts)] : [];
}

function readAnswer(body: Json): Message[] | null {
  if (Array.isArray(body.choices)) {
    return body.choices.filter(isObject).map((choice) => {
      const inner = isObject(choice.message) ? choice.message : isObject(choice.delta) ? choice.delta : { role: "assistant", content: choice.text };
      return { ...readMessage({ role: "assistant", ...inner }), finish: asText(choice.finish_reason) };
    });
  }
  if (Array.isArray(body.messages)) return readMessages(body.messages, "output");
  if (Array.isArray(body.output)) return readOutputItems(body.output);
  if (looksLikeMessage(body)) return [{ ...readMessage(body), finish: asText(body.stop_reason ?? body.finish_reason) }];
  return null;
}

/** The items of an answer of the Responses API. */
function readOutputItems(items: unknown[]): Message[] {
  return items.map((item) => {
    if (!isObject(item)) return message("assistant", [{ kind: "json", value: item }]);
    if (item.type === "message" || "role" in item) return readMessage({ role: "assistant", ...item });
    return message("assistant", [readPart(item)]);
  });
}

function looksLikeMessage(value: unknown): boolean {
  return isObject(value) && typeof value.role === "string";
}

function readMessage(value: unknown): Message {
  if (!isObject(value)) return message("other", [{ kind: "json", value }]);
  const written = asText(value.role);
  const role = ROLES[written.toLowerCase()] ?? "other";
  const parts: Part[] = [];
  const thought = value.reasoning_content ?? value.reasoning;
  if (typeof thought === "string" && thought !== "") parts.push({ kind: "reasoning", text: thought });
  const body = readContent(value.parts ?? value.content);
  if (role === "tool" && value.parts === undefined) {
    parts.push({ kind: "result", id: asText(value.tool_call_id), text: body.map((p) => ("text" in p ? p.text : JSON.stringify(p))).join("\n") });
  } else parts.push(...body);
  if (typeof value.refusal === "string" && value.refusal !== "") parts.push({ kind: "text", text: value.refusal });
  if (Array.isArray(value.tool_calls)) for (const call of value.tool_calls) parts.push(readCall(call));
  if (isObject(value.function_call)) parts.push(readCall({ function: value.function_call }));
  return { role, label: role === "other" ? written || "unknown" : "", name: asText(value.name), parts, finish: asText(value.finish_reason) };
}

function readCall(value: unknown): Part {
  if (!isObject(value)) return { kind: "json", value };
  const inner = isObject(value.function) ? value.function : value;
  return { kind: "call", id: asText(value.id ?? value.call_id), name: asText(inner.name), arguments: asArguments(inner.arguments ?? inner.input) };
}

function readContent(content: unknown): Part[] {
  if (content === null || content === undefined || content === "") return [];
  if (typeof content === "string") return [{ kind: "text", text: content }];
  if (Array.isArray(content)) return content.map((item) => (typeof item === "string" ? { kind: "text", text: item } : readPart(item)));
  return [readPart(content)];
}

function readPart(value: unknown): Part {
  if (!isObject(value)) return { kind: "json", value };
  const text = typeof value.text === "string" ? value.text : typeof value.content === "string" ? value.content : null;
  switch (value.type) {
    case "text":
    case "input_text":
    case "output_text":
    case "refusal":
    case undefined:
      if (text !== null) return { kind: "text", text };
      break;
    case "reasoning":
    case "thinking": {
      const thought = text ?? value.thinking;
      if (typeof thought === "string") return { kind: "reasoning", text: thought };
      break;
    }
    case "tool_use":
    case "tool_call":
    case "function_call":
      return readCall(value);
    case "tool_result":
    case "tool_call_response":
    case "function_call_output": {
      const result = value.content ?? value.response ?? value.result ?? value.output;
      const shown = typeof result === "string" ? result : readContent(result).map((p) => (p.kind === "text" ? p.text : JSON.stringify(result, null, 2))).join("\n");
      return { kind: "result", id: asText(value.tool_use_id ?? value.id ?? value.call_id), text: shown };
    }
    case "image_url":
    case "input_image":
    case "image":
    case "input_audio":
    case "audio":
    case "file":
    case "blob":
    case "uri":
      return { kind: "media", label: asText(value.mime_type ?? value.media_type) || value.type, source: mediaSource(value) };
  }
  return { kind: "json", value };
}

function mediaSource(value: Json): string {
  const inner = value.image_url ?? value.source ?? value.file ?? value.uri ?? value.file_id;
  const url = isObject(inner) ? (inner.url ?? inner.file_id ?? inner.filename) : inner;
  const text = asText(url);
  // An inline picture may be megabytes; only what it is and how long is told.
  return text.startsWith("data:") ? `${text.slice(0, text.indexOf(",") + 1)}… (${text.length} characters)` : text;
}

function message(role: Role, parts: Part[]): Message {
  return { role, label: "", name: "", parts, finish: "" };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function asArguments(value: unknown): string {
  if (typeof value === "string") {
    const parsed = tryJson(value);
    return parsed === undefined ? value : JSON.stringify(parsed, null, 2);
  }
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

function tryJson(text: string): unknown {
  const head = text.trimStart().charAt(0);
  if (head !== "{" && head !== "[") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * What a list shows of a preview, which is the beginning of a recorded document and often cut in the middle: the last
 * words that stand in it, or the text as it is.
 */
export function previewText(preview: string, side: "input" | "output"): string {
  if (!/^\s*[[{]/.test(preview)) return preview;
  const whole = readMessages(preview, side);
  const text = whole?.at(-1)?.parts.map((part) => ("text" in part ? part.text : part.kind === "call" ? `${part.name}(…)` : "")).join(" ");
  if (text !== undefined && text.trim() !== "" && tryJson(preview) !== undefined) return text;
  const found = [...preview.matchAll(/"(?:content|text)"\s*:\s*"((?:[^"\\]|\\.)*)/g)].at(-1)?.[1];
  if (found === undefined || found === "") return preview;
  return tryJsonText(found) ?? found;
}

/** The inside of a JSON string, whose last escape may be cut. */
function tryJsonText(inside: string): string | undefined {
  for (const end of [inside, inside.replace(/\\(?:u[0-9a-f]{0,3})?$/i, "")]) {
    try {
      return JSON.parse(`"${end}"`) as string;
    } catch {
      // the next, shorter reading
    }
  }
  return undefined;
}

/** The text of a conversation, for the clipboard. */
export function plainText(messages: readonly Message[]): string {
  return messages.map((m) => m.parts.map((p) => ("text" in p ? p.text : p.kind === "call" ? `${p.name}(${p.arguments})` : p.kind === "media" ? `[${p.label}]` : JSON.stringify(p.value))).join("\n")).join("\n\n");
}
