import { plainText, readMessages } from "@/features/traces/messages";

/** Keys that are digests of their rows are cut; the others are what people wrote. */
export function shortKey(key: string): string {
  return /^(sha256:)?[0-9a-f]{64}$/.test(key) ? key.replace("sha256:", "").slice(0, 12) : key;
}

/** A value as one line: a conversation by its words, an object by its JSON. */
export function cell(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value.slice(0, 300);
  if (Array.isArray(value)) {
    const messages = value.length > 0 ? readMessages(value, "input") : null;
    if (messages) return (messages.filter((m) => m.role !== "system").map((m) => plainText([m])).join("  ›  ") || plainText(messages)).slice(0, 300);
  }
  return JSON.stringify(value).slice(0, 300);
}

/** A row in one line. */
export function gist(value: Record<string, unknown>): string {
  const first = Array.isArray(value.messages) ? cell(value.messages) : "";
  return first || Object.entries(value).map(([name, inner]) => `${name} ${cell(inner)}`).join(" · ").slice(0, 300);
}

