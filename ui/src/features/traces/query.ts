/**
 * The one query bar of the traces page. The URL is the only place where a filter lives; the bar is a view of it:
 * `parseQuery(formatQuery(f))` is `f`, and what cannot be understood is named, never dropped.
 */

export const FIELDS = ["status", "app", "model", "release", "binding", "session", "user", "name"] as const;
export type Field = (typeof FIELDS)[number];

export type Filters = Partial<Record<Field, string>> & { min?: number; text?: string };

export interface ParsedQuery {
  filters: Filters;
  problems: string[];
}

export const STATUSES = ["ok", "error", "unset"] as const;

const TOKEN = /([a-z_]+)(:|>=)("(?:[^"\\]|\\.)*"|\S*)|"(?:[^"\\]|\\.)*"|\S+/giy;

/** Filters from text such as `status:error app:assistant latency>=2s "exact words"`. */
export function parseQuery(text: string): ParsedQuery {
  const filters: Filters = {};
  const problems: string[] = [];
  const words: string[] = [];
  TOKEN.lastIndex = 0;
  let at = 0;
  const source = text.trim();
  while (at < source.length) {
    if (/\s/.test(source.charAt(at))) {
      at += 1;
      continue;
    }
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(source);
    if (!match) break;
    at = TOKEN.lastIndex;
    const [whole, key, operator, raw] = match;
    if (key === undefined || operator === undefined || raw === undefined) words.push(unquote(whole));
    else readFilter(key.toLowerCase(), operator, unquote(raw), filters, problems);
  }
  if (words.length > 0) filters.text = words.join(" ");
  return { filters, problems };
}

function readFilter(key: string, operator: string, value: string, filters: Filters, problems: string[]): void {
  if (key === "latency") {
    const ms = operator === ">=" ? parseDuration(value) : null;
    if (ms === null) problems.push("Write a latency as latency>=500ms or latency>=2s.");
    else filters.min = ms;
    return;
  }
  if (!isField(key) || operator !== ":") {
    problems.push(`There is no filter ${key}${operator} – try ${FIELDS.join(":, ")}: or latency>=.`);
    return;
  }
  if (value === "") problems.push(`The filter ${key}: needs a value.`);
  else if (filters[key] !== undefined && filters[key] !== value) problems.push(`${key}: stands twice; one value is possible.`);
  else if (key === "status" && !(STATUSES as readonly string[]).includes(value)) problems.push(`status: is one of ${STATUSES.join(", ")}.`);
  else filters[key] = value;
}

function isField(key: string): key is Field {
  return (FIELDS as readonly string[]).includes(key);
}

function unquote(text: string): string {
  if (text.length < 2 || !text.startsWith('"') || !text.endsWith('"')) return text;
  return text.slice(1, -1).replace(/\\(.)/g, "$1");
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, (c) => `\\${c}`)}"`;
}

/** `2s`, `500ms`, `1.5s`, `250` (ms) in milliseconds; null where it is none of these. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text.trim());
  if (!match) return null;
  const scale = { ms: 1, s: 1000, m: 60_000 }[match[2] ?? "ms"] ?? 1;
  return Number(match[1]) * scale;
}

/** The text of the filters, in a fixed order; the inverse of `parseQuery`. */
export function formatQuery(filters: Filters): string {
  const parts: string[] = [];
  for (const field of FIELDS) {
    const value = filters[field];
    if (value !== undefined && value !== "") parts.push(`${field}:${/^[^\s"\\]+$/.test(value) ? value : quote(value)}`);
  }
  if (filters.min !== undefined) parts.push(`latency>=${filters.min}ms`);
  if (filters.text !== undefined && filters.text !== "") parts.push(plainWords(filters.text) ? filters.text : quote(filters.text));
  return parts.join(" ");
}

function plainWords(text: string): boolean {
  return text.split(" ").every((word) => /^[^\s"\\]+$/.test(word) && !/^[a-z_]+(:|>=)/i.test(word));
}

/** Sets or removes one filter. */
export function withFilter<K extends keyof Filters>(filters: Filters, key: K, value: Filters[K] | undefined): Filters {
  const rest = { ...filters };
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- an absent key, not an undefined one, is what the URL leaves out
  delete rest[key];
  return value === undefined || value === "" ? rest : { ...rest, [key]: value };
}

/** Names what is filtered, for chips. */
export function filterChips(filters: Filters): { key: keyof Filters; label: string }[] {
  const chips: { key: keyof Filters; label: string }[] = [];
  for (const field of FIELDS) {
    const value = filters[field];
    if (value !== undefined) chips.push({ key: field, label: `${field}: ${value}` });
  }
  if (filters.min !== undefined) chips.push({ key: "min", label: `latency ≥ ${filters.min} ms` });
  if (filters.text !== undefined) chips.push({ key: "text", label: `“${filters.text}”` });
  return chips;
}
