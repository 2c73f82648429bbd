import type { Provider, ProviderModel, RoutedModel } from "@/api/gateway";
import type { PriceEntry } from "@/api/models";

/**
 * Who says what a model costs: its provider's form, the price table (of the project or of every one), or the public list;
 * `free` is what nobody sends a bill for, as the answers of an engine that nobody priced.
 */
export type PriceSource = "provider" | "project" | "everywhere" | "list" | "free" | "unknown";

/** What a price says, wherever it comes from. */
export interface ShownPrice {
  input: string;
  output: string;
  cache_read?: string | null | undefined;
  cache_write?: string | null | undefined;
  currency: string;
  batch?: string | null | undefined;
  units?: Readonly<Record<string, string>> | undefined;
}

export interface PriceRow {
  name: string;
  kinds: readonly string[];
  price: ShownPrice | null;
  source: PriceSource;
  /** What the price was imported from, such as `litellm`; empty where somebody set it by hand, or nobody here did. */
  imported: string;
  /** Since when calls are counted by it; null where that is not known, as of the public list. */
  since: string | null;
  /** Who put it there, where that is known. */
  by: string;
  /** The line of the table that counts now. */
  line: PriceEntry | undefined;
  /** All lines of the table for it, the newest begun first. */
  lines: readonly PriceEntry[];
  /** Whether clients may name it now. */
  routed: boolean;
  /** The provider that answers for it; empty for an engine of this installation, which all projects share. */
  provider: string;
}

export const PRICE_SORTS = ["name", "-name", "input", "-input", "output", "-output", "source", "-source", "since", "-since"] as const;
export type PriceSort = (typeof PRICE_SORTS)[number];

const begun = (entry: PriceEntry): number => (entry.price.valid_from === null ? -Infinity : Date.parse(entry.price.valid_from));

export type LineState = "counts" | "waits" | "over" | "covered";

/** The line that holds at a time: the project's own before everybody's, the later begun before the older, as the server says. */
export function lineAt(lines: readonly PriceEntry[], now: number): PriceEntry | undefined {
  const holding = lines.filter((entry) => begun(entry) <= now && (entry.price.valid_to === null || now < Date.parse(entry.price.valid_to)));
  return [...holding].sort(ranked)[0];
}

function ranked(a: PriceEntry, b: PriceEntry): number {
  if (a.everywhere !== b.everywhere) return a.everywhere ? 1 : -1;
  const [first, second] = [begun(a), begun(b)];
  return first === second ? (a.id < b.id ? 1 : -1) : first < second ? 1 : -1;
}

/** What a line of the table was imported from; empty where somebody typed it, or Tetrad itself knows it. */
export function importedFrom({ price }: Pick<PriceEntry, "price">): string {
  return ["", "manual", "local"].includes(price.source) ? "" : price.source;
}

/** Since when calls are counted by a line: it begins when it says so, but what ended before it was added was not counted by it. */
export function countsSince({ price, created_at }: Pick<PriceEntry, "price" | "created_at">): string {
  return price.valid_from !== null && Date.parse(price.valid_from) > Date.parse(created_at) ? price.valid_from : created_at;
}

type Origin = Pick<PriceRow, "imported" | "since" | "by">;
const NO_ORIGIN: Origin = { imported: "", since: null, by: "" };
const ofForm = (told: ProviderModel["price_origin"]): Origin => ({ imported: told?.source ?? "", since: told?.at ?? null, by: told?.by ?? "" });
const ofLine = (line: PriceEntry | undefined): Origin => (line === undefined ? NO_ORIGIN : { imported: importedFrom(line), since: countsSince(line), by: line.created_by });

const ofTable = (line: PriceEntry): PriceSource => (line.everywhere ? "everywhere" : "project");

/** Whether a price is one of nothing: what no list says, and what gateways count for engines that nobody priced. */
export function isNothing(price: ShownPrice): boolean {
  return [price.input, price.output, ...Object.values(price.units ?? {})].every((amount) => Number(amount) === 0);
}

/** Whether a line of this project's table would count: not where the provider's form has a price, which goes before it. */
export function settable({ source }: Pick<PriceRow, "source">): boolean {
  return source !== "provider";
}

/** What a line of the table does now. */
export function stateOf(entry: PriceEntry, lines: readonly PriceEntry[], now: number): LineState {
  if (begun(entry) > now) return "waits";
  if (entry.price.valid_to !== null && Date.parse(entry.price.valid_to) <= now) return "over";
  return lineAt(lines, now)?.id === entry.id ? "counts" : "covered";
}

/** Each model that clients may name or that the table prices, with what it costs and who says so. */
export function priceRows(models: readonly RoutedModel[], providers: readonly Provider[], table: readonly PriceEntry[], now: number): PriceRow[] {
  const lines = new Map<string, PriceEntry[]>();
  for (const entry of table) lines.set(entry.model, [...(lines.get(entry.model) ?? []), entry]);
  const owners = new Map(providers.map((provider) => [provider.name, provider]));
  const rows = models.map((model): PriceRow => {
    const owner = owners.get(model.upstream);
    const mine = [...(lines.get(model.name) ?? [])].sort(ranked);
    const form = owner?.models.find((each) => `${owner.name}/${each.name}` === model.name);
    const own = form?.price ?? null;
    const line = own === null ? lineAt(mine, now) : undefined;
    const price = own ?? line?.price ?? model.price;
    const source = own !== null ? "provider" : line !== undefined ? ofTable(line) : price === null ? "unknown" : owner === undefined && isNothing(price) ? "free" : "list";
    const origin = own === null ? ofLine(line) : ofForm(form?.price_origin);
    return { name: model.name, kinds: model.kinds, price, source, ...origin, line, lines: mine, routed: true, provider: owner?.name ?? "" };
  });
  // What cannot be called now, because its key is missing say, has the price of its provider's form all the same.
  const named = new Set(models.map((model) => model.name));
  const idle = providers.flatMap((owner) =>
    owner.models.flatMap(({ name: short, kinds, price, price_origin: told }): PriceRow[] => {
      const name = `${owner.name}/${short}`;
      if (price == null || named.has(name)) return [];
      return [{ name, kinds, price, source: "provider", ...ofForm(told), line: undefined, lines: [...(lines.get(name) ?? [])].sort(ranked), routed: false, provider: owner.name }];
    }),
  );
  for (const row of idle) named.add(row.name);
  const others = [...lines].filter(([name]) => !named.has(name));
  return [
    ...rows,
    ...idle,
    ...others.map(([name, entries]): PriceRow => {
      const line = lineAt(entries, now);
      return { name, kinds: [], price: line?.price ?? null, source: line === undefined ? "unknown" : ofTable(line), ...ofLine(line), line, lines: [...entries].sort(ranked), routed: false, provider: name.split("/")[0] ?? "" };
    }),
  ];
}

const WORDS: Record<PriceSource, string> = { provider: "its provider’s form", project: "set here", everywhere: "this installation", list: "public price list", free: "no bill", unknown: "nobody" };
const IMPORTED: Record<string, string> = { litellm: "LiteLLM" };

/** Who says so: `set here`, `imported from LiteLLM`. */
export function sourceWords({ source, imported }: Pick<PriceRow, "source" | "imported">): string {
  return imported === "" ? WORDS[source] : importWords(imported);
}

export function importWords(imported: string): string {
  return `imported from ${IMPORTED[imported] ?? imported}`;
}

export type PricesOf = "unknown" | "set" | "imported";

/** Whether a row is among those that are looked at: nobody's, those that people set here, or those that were imported. */
export function isShown(row: PriceRow, show: PricesOf | undefined): boolean {
  if (show === undefined) return true;
  if (show === "unknown") return row.source === "unknown";
  if (show === "imported") return row.imported !== "" || row.lines.some((line) => importedFrom(line) !== "");
  return (row.source === "provider" && row.imported === "") || row.lines.some((line) => line.price.source === "manual");
}

/** Rows as a list shows them; what is unknown comes last, whichever way it is sorted by price. */
export function sortedRows(rows: readonly PriceRow[], sort: PriceSort): PriceRow[] {
  const down = sort.startsWith("-");
  const field = sort.replace("-", "");
  const by = (a: PriceRow, b: PriceRow): number => {
    if (field === "input" || field === "output") return Number(a.price?.[field] ?? 0) - Number(b.price?.[field] ?? 0);
    if (field === "since") return Date.parse(a.since ?? "") - Date.parse(b.since ?? "");
    return field === "source" ? sourceWords(a).localeCompare(sourceWords(b)) : a.name.localeCompare(b.name);
  };
  const priced = field === "input" || field === "output";
  const last = (row: PriceRow): number => ((priced && row.price === null) || (field === "since" && row.since === null) ? 1 : 0);
  return [...rows].sort((a, b) => last(a) - last(b) || (last(a) === 1 ? 0 : by(a, b) * (down ? -1 : 1)) || a.name.localeCompare(b.name));
}
