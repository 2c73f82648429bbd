import type { ToolServer, ToolServerBody } from "@/api/tools";

/** A header or a variable as it is typed. */
export interface Pair {
  name: string;
  value: string;
}

export interface ToolServerDraft extends Omit<ToolServerBody, "command" | "headers" | "env"> {
  name: string;
  kind: "url" | "command";
  command: string;
  headers: Pair[];
  env: Pair[];
}

const NEW: ToolServerDraft = {
  name: "",
  kind: "url",
  url: "",
  command: "",
  headers: [],
  env: [],
  allow: ["*"],
  access: [],
  on_change: "refuse",
  serves: ["tools"],
  connect_timeout_s: 5,
  first_byte_timeout_s: 60,
  idle_timeout_s: 60,
  total_timeout_s: 600,
  max_connections: 64,
  internal: false,
};

const pairs = (from: Record<string, string>): Pair[] => Object.entries(from).map(([name, value]) => ({ name, value }));

export function serverDraftOf(server: ToolServer | undefined): ToolServerDraft {
  if (server === undefined) return NEW;
  const draft: Partial<ToolServer> & Omit<ToolServer, "tools" | "problem" | "rests"> = { ...server };
  delete draft.tools;
  delete draft.problem;
  delete draft.rests;
  return { ...draft, kind: server.command.length > 0 ? "command" : "url", command: commandText(server.command), headers: pairs(server.headers), env: pairs(server.env) };
}

/** What to send for a draft. What an administrator said of one address holds for no other. */
export function serverBodyOf(draft: ToolServerDraft, before?: ToolServer): ToolServerBody {
  const { kind, command, headers, env, ...rest } = draft;
  const body: ToolServerBody & { name?: string } = {
    ...rest,
    url: kind === "url" ? draft.url.trim() : "",
    command: kind === "command" ? (wordsOf(command) ?? []) : [],
    headers: kind === "url" ? record(headers) : {},
    env: kind === "command" ? record(env) : {},
    access: draft.access.map((each) => ({ ...each, name: each.name.trim() })),
  };
  if (before !== undefined && draft.internal === before.internal && hostOf(body.url) !== hostOf(before.url)) body.internal = false;
  delete body.name;
  return body;
}

function record(given: readonly Pair[]): Record<string, string> {
  return Object.fromEntries(given.map(({ name, value }) => [name.trim(), value.trim()]));
}

/** The words of a command, read as a shell reads them but for its variables; null where a quote stays open. */
export function wordsOf(text: string): string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (quote === "'" ? c !== "'" : quote === '"' ? c !== '"' && c !== "\\" : false) word = (word ?? "") + c;
    else if (c === quote) quote = "";
    else if (c === "\\") {
      const next = text.charAt(++i);
      if (next === "") return null;
      word = (word ?? "") + (quote === '"' && next !== '"' && next !== "\\" ? `\\${next}` : next);
    } else if (quote === "" && (c === "'" || c === '"')) {
      quote = c;
      word ??= "";
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + c;
  }
  if (quote !== "") return null;
  return word === null ? words : [...words, word];
}

/** A command as a shell would take it. */
export function commandText(words: readonly string[]): string {
  return words.map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)).join(" ");
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "";
}

const SECRET = /\{([A-Za-z0-9][A-Za-z0-9._-]{0,99})\}/g;
const TELLING = /authorization|cookie|token|secret|password|passwd|credential|api[-_]?key|^key$/i;
const PATTERN = /^[A-Za-z0-9_./*?[\]-]{1,128}$/;

/** The secrets that a value names. */
export function secretsIn(value: string): string[] {
  return [...value.matchAll(SECRET)].map((found) => found[1] ?? "");
}

/** What is wrong with a draft, by the field's name; the server judges again. `secrets`: those that the project has. */
export function serverProblemsOf(draft: ToolServerDraft, taken: readonly string[] = [], secrets?: readonly string[]): Record<string, string> {
  const problems: Record<string, string> = {};
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(draft.name)) problems.name = "Small letters, digits and -, at most 63";
  else if (taken.includes(draft.name)) problems.name = "There is an MCP server of that name";
  if (draft.kind === "url") {
    const url = URL.canParse(draft.url.trim()) ? new URL(draft.url.trim()) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) problems.url = "The whole address, such as https://mcp.example.com/mcp";
    else if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") problems.url = "Without credentials, query or fragment: what is secret goes into a header";
  } else {
    const words = wordsOf(draft.command);
    if (words === null) problems.command = "A quote stays open";
    else if (words.length === 0) problems.command = "A program with its arguments, such as uvx mcp-server-git";
  }
  const given = draft.kind === "url" ? draft.headers : draft.env;
  const field = draft.kind === "url" ? "headers" : "env";
  const form = draft.kind === "url" ? /^[A-Za-z0-9][A-Za-z0-9-]{0,99}$/ : /^[A-Za-z_][A-Za-z0-9_]{0,99}$/;
  given.forEach(({ name, value }, i) => {
    const clean = name.trim();
    const used = secretsIn(value);
    const missing = secrets && used.find((each) => !secrets.includes(each));
    if (!form.test(clean)) problems[`${field}.${i}.name`] = draft.kind === "url" ? "Such as Authorization" : "Such as GIT_TOKEN";
    else if (given.findIndex((each) => each.name.trim().toLowerCase() === clean.toLowerCase()) < i) problems[`${field}.${i}.name`] = "It is set already";
    if (value.trim() === "") problems[`${field}.${i}.value`] = "What is sent";
    else if (TELLING.test(clean) && used.length === 0) problems[`${field}.${i}.value`] = "Name a secret of the project, never the secret itself";
    else if (missing) problems[`${field}.${i}.value`] = `There is no secret “${missing}” in this project`;
  });
  if (draft.allow.length === 0 || !draft.allow.every((each) => PATTERN.test(each))) problems.allow = "Patterns such as read_* or *; at least one";
  draft.access.forEach((each, i) => {
    if (each.name.trim() === "") problems[`access.${i}.name`] = "Which one?";
    if (each.tools.length === 0 || !each.tools.every((one) => PATTERN.test(one))) problems[`access.${i}.tools`] = "Patterns such as read_* or *; at least one";
  });
  if (draft.serves.length === 0) problems.serves = "At least one";
  return problems;
}
