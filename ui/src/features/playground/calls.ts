import type { App } from "@/api/apps";
import { pythonLiteral, shellQuote, type Snippet } from "@/features/apps/template";

/** What a person said once: words, and images by address or as data. */
export interface Said {
  text: string;
  images: string[];
}

export type Message = Record<string, unknown>;

/** Pictures of one message, and the size of one: what a request may carry besides words. */
export const MOST_IMAGES = 6;
export const MOST_IMAGE_BYTES = 2 * 1024 * 1024;
export const IMAGE_TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];

function contentOf({ text, images }: Said): unknown {
  if (images.length === 0) return text;
  return [...(text === "" ? [] : [{ type: "text", text }]), ...images.map((url) => ({ type: "image_url", image_url: { url } }))];
}

/**
 * The messages of the conversation that one of the contenders had. Turns that it did not answer are left out, but for the
 * last one, which it is asked now.
 */
export function messagesOf(system: string, turns: readonly Said[], answer: (turn: number) => string | undefined): Message[] {
  const messages: Message[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
  turns.forEach((said, turn) => {
    const answered = turn === turns.length - 1 ? undefined : answer(turn);
    if (turn < turns.length - 1 && (answered === undefined || answered === "")) return;
    messages.push({ role: "user", content: contentOf(said) });
    if (answered !== undefined) messages.push({ role: "assistant", content: answered });
  });
  return messages;
}

/** Parameters as they are typed; empty leaves what the model or the app says. */
export interface Draft {
  temperature: string;
  top_p: string;
  max_tokens: string;
  seed: string;
  stop: string[];
  schema: string;
}

export const NO_PARAMS: Draft = { temperature: "", top_p: "", max_tokens: "512", seed: "", stop: [], schema: "" };

const RANGES = { temperature: [0, 2], top_p: [0, 1], max_tokens: [1, 1_000_000], seed: [-(2 ** 53), 2 ** 53] } as const;

/** What to send of a draft, and what is wrong with it by field. */
export function paramsOf(draft: Draft): { params: Record<string, unknown>; problems: Record<string, string> } {
  const params: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const field of ["temperature", "top_p", "max_tokens", "seed"] as const) {
    const typed = draft[field].trim();
    if (typed === "") continue;
    const value = Number(typed);
    const [least, most] = RANGES[field];
    const whole = field === "max_tokens" || field === "seed";
    if (!Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value))) problems[field] = `${whole ? "A whole number" : "A number"}, ${field === "seed" ? "up to 2^53" : `${least} to ${most}`}`;
    else params[field] = value;
  }
  if (draft.stop.length > 4) problems.stop = "At most four";
  else if (draft.stop.length > 0) params.stop = draft.stop;
  if (draft.schema.trim() !== "") {
    const schema = readObject(draft.schema);
    if (schema === null) problems.schema = "Not a JSON object";
    else params.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
  return { params, problems };
}

function readObject(text: string): Record<string, unknown> | null {
  const value = readJson(text);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}

export function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The release that a target means, by what the refs of apps say; "" where it is no app or not there. */
export function releaseOf(target: string, apps: readonly App[]): string {
  if (target.startsWith("release:")) return target.slice("release:".length);
  if (!target.startsWith("app:")) return "";
  const [name, ref = ""] = target.slice("app:".length).split("@");
  if (ref.startsWith("sha256:")) return ref;
  const app = apps.find((each) => each.name === name);
  return app?.refs.find((each) => each.name === (ref === "" ? app.default_ref : ref))?.digest ?? "";
}

/** The call in the words of the clients that people have. */
export function callSnippets({ model, messages, params, variables }: { model: string; messages: Message[]; params: Record<string, unknown>; variables: Record<string, unknown> }): Snippet[] {
  const has = Object.keys(variables).length > 0;
  const body = { model, messages, ...params, ...(has ? { tetrad: { variables } } : {}) };
  const python = Object.entries({ model, messages, ...params }).map(([name, value]) => `    ${name}=${pythonLiteral(value)},\n`).join("");
  const extra = has ? `    extra_body=${pythonLiteral({ tetrad: { variables } })},\n` : "";
  const typed = JSON.stringify({ ...body, stream: true }, null, 2);
  return [
    { label: "curl", text: `eval "$(tetrad env)"\ncurl "$OPENAI_BASE_URL/chat/completions" \\\n  -H "authorization: Bearer $OPENAI_API_KEY" \\\n  -H "content-type: application/json" \\\n  -d ${shellQuote(JSON.stringify(body))}` },
    { label: "Python", text: `from openai import OpenAI\n\nclient = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY\nstream = client.chat.completions.create(\n${python}${extra}    stream=True,\n)\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)` },
    {
      label: "TypeScript",
      text: `import OpenAI from "openai";\n\nconst client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY\n${has ? "// @ts-expect-error -- `tetrad` is an extension of the protocol\n" : ""}const stream = await client.chat.completions.create(${typed});\nfor await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");`,
    },
  ];
}

/** What a conversation was asked, as a row of a dataset. */
export function rowOf(messages: Message[], variables: Record<string, unknown>): Record<string, unknown> {
  return { messages, ...(Object.keys(variables).length > 0 ? { variables } : {}) };
}
