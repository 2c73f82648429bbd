/** One logical name of a binding and what it means in the environment. */
export interface BoundName {
  section: string;
  name: string;
  /** Who or what answers: a provider, an engine, an index, an address. */
  means: string;
  /** Logical models that go by another name there. */
  models: [string, string][];
  secret: string;
  limit: string;
}

const SECTIONS = { providers: "provider", indexes: "index", tools: "tool", mcp_servers: "MCP server" } as const;

/** The names of a binding's document, section by section; what a newer server adds and this console does not know is left to the JSON. */
export function boundNames(document: Readonly<Record<string, unknown>> | null): BoundName[] {
  if (document === null) return [];
  return Object.entries(SECTIONS).flatMap(([key, section]) =>
    Object.entries(record(document[key])).map(([name, value]) => {
      const entry = record(value);
      const timeout = entry.timeout_s;
      const most = entry.max_concurrency;
      return {
        section,
        name,
        means: meaning(entry),
        models: Object.entries(record(entry.models)).map(([model, there]): [string, string] => [model, text(there)]),
        secret: text(entry.secret),
        limit: typeof most === "number" && most > 0 ? `${most} calls at once` : typeof timeout === "number" ? `${timeout} s` : "",
      };
    }),
  );
}

function meaning(entry: Record<string, unknown>): string {
  if (text(entry.engine) !== "") return `engine ${text(entry.engine)}`;
  if (text(entry.provider) !== "") return `provider ${text(entry.provider)}`;
  if (text(entry.server) !== "") return `registered server ${text(entry.server)}`;
  if (text(entry.index) !== "") return `index ${text(entry.index)}`;
  return text(entry.url);
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
