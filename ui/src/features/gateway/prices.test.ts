import { describe, expect, it } from "vitest";
import type { Provider, RoutedModel } from "@/api/gateway";
import type { PriceEntry } from "@/api/models";
import { exactPrice } from "@/kit/format";
import { priceBody, priceDraft, priceProblems } from "./priceForm";
import { elseOf, whoSays } from "./PriceLines";
import { countsSince, isNothing, isShown, lineAt, priceRows, settable, sortedRows, sourceWords, stateOf } from "./prices";
import { readPricesSearch } from "./search";
import { unitLabel } from "./units";

const NOW = Date.parse("2026-06-01T00:00:00Z");
const price = { input: "1", output: "2", cache_read: null, cache_write: null, currency: "USD", source: "manual", valid_from: null, valid_to: null, tiered: false, unpriced: [], units: {}, batch: null };
const line = (id: string, change: Partial<PriceEntry["price"]> = {}, more: Partial<PriceEntry> = {}): PriceEntry => ({ id, model: "acme/a", everywhere: false, created_at: "2026-01-01T00:00:00Z", created_by: "alice", price: { ...price, ...change }, ...more });

describe("the price table", () => {
  it.each<[string, PriceEntry[], string | undefined]>([
    ["the later begun", [line("a", { valid_from: "2026-01-01T00:00:00Z" }), line("b", { valid_from: "2026-03-01T00:00:00Z" })], "b"],
    ["the newest of those that began together", [line("a"), line("b")], "b"],
    ["the project's own before everybody's", [line("a"), line("b", {}, { everywhere: true })], "a"],
    ["none that is to come", [line("a"), line("b", { valid_from: "2026-07-01T00:00:00Z" })], "a"],
    ["none that ends this moment", [line("a", { valid_to: "2026-06-01T00:00:00Z" })], undefined],
  ])("counts %s", (_, lines, id) => expect(lineAt(lines, NOW)?.id).toBe(id));
  it("says of each line what it does", () => {
    const lines = [line("a"), line("b"), line("c", { valid_from: "2026-07-01T00:00:00Z" }), line("d", { valid_to: "2026-02-01T00:00:00Z" })];
    expect(lines.map((each) => stateOf(each, lines, NOW))).toEqual(["covered", "counts", "waits", "over"]);
  });
});

describe("what models cost", () => {
  const routed = (name: string, upstream: string, at: RoutedModel["price"] = null): RoutedModel => ({ name, upstream, kinds: ["chat"], state: "ready", digest: "", price: at });
  const listed = { input: "5", output: "6", cache_read: null, cache_write: null, currency: "USD", batch: null, units: {} };
  const acme = { name: "acme", models: [{ name: "a", kinds: ["chat"], deployment: "", price: null }, { name: "own", kinds: ["chat"], deployment: "", price: { ...listed, input: "9" } }, { name: "b", kinds: ["chat"], deployment: "", price: null }, { name: "c", kinds: ["chat"], deployment: "", price: null }] } as unknown as Provider;
  const models = [routed("acme/a", "acme", listed), routed("acme/own", "acme", { ...listed, input: "9" }), routed("acme/b", "acme", listed), routed("acme/c", "acme"), ...["m", "all", "free"].map((name) => routed(`local/${name}`, "local", { ...listed, input: "0", output: "0" }))];
  const rows = priceRows(models, [acme], [line("1"), line("2", {}, { model: "acme/own" }), line("3", { input: "7" }, { model: "local/m" }), line("5", { input: "0", source: "local" }, { model: "local/m", everywhere: true }), line("6", { input: "3" }, { model: "local/all", everywhere: true }), line("4", { valid_from: "2027-01-01T00:00:00Z" }, { model: "gone/x" })], NOW);
  it("come from the provider's form, else the table, else the list, else nobody; engines of nobody's price send no bill", () =>
    expect(rows.map((row) => [row.name, row.source, row.price?.input])).toEqual([
      ["acme/a", "project", "1"],
      ["acme/own", "provider", "9"],
      ["acme/b", "list", "5"],
      ["acme/c", "unknown", undefined],
      ["local/m", "project", "7"],
      ["local/all", "everywhere", "3"],
      ["local/free", "free", "0"],
      ["gone/x", "unknown", undefined],
    ]));
  it("are a project's to set, those of engines too, but for those in a provider's form", () => expect(rows.filter((row) => !settable(row)).map((row) => row.name)).toEqual(["acme/own"]));
  it("hold as the line says that holds, the project's of an engine before everybody's", () => {
    const row = rows.find((each) => each.name === "local/m");
    expect(row?.lines.map((each) => [each.id, stateOf(each, row.lines, NOW)])).toEqual([["3", "counts"], ["5", "covered"]]);
    expect([row?.line?.id, row && sourceWords(row), row?.by]).toEqual(["3", "set here", "alice"]);
  });
  it("are of nothing only where nothing at all is charged", () => {
    expect(rows.filter((row) => row.source === "free").map(sourceWords)).toEqual(["no bill"]);
    expect([isNothing({ ...listed, input: "0", output: "0.00" }), isNothing({ ...listed, input: "0" }), isNothing({ ...listed, input: "0", output: "0", units: { image: "0.04" } })]).toEqual([true, false, false]);
  });
  it("are sorted, and what is unknown comes last either way", () => {
    expect(sortedRows(rows, "-input").map((row) => row.name)).toEqual(["acme/own", "local/m", "acme/b", "local/all", "acme/a", "local/free", "acme/c", "gone/x"]);
    expect(sortedRows(rows, "input").map((row) => row.name)).toEqual(["local/free", "acme/a", "local/all", "acme/b", "local/m", "acme/own", "acme/c", "gone/x"]);
    expect(sortedRows(rows, "-name")[0]?.name).toBe("local/m");
  });
});

describe("whence a price comes", () => {
  const own = (name: string, price_origin: unknown) => ({ name, kinds: ["chat"], deployment: "", price: { input: "1", output: "2", currency: "USD", batch: null, units: {} }, price_origin });
  const acme = { name: "acme", models: [own("typed", { source: "", at: "2026-02-01T00:00:00Z", by: "alice" }), own("taken", { source: "litellm", at: "2026-03-01T00:00:00Z", by: "ci" }), own("older", null), { ...own("listed", null), price: null }] } as unknown as Provider;
  const models = ["typed", "taken", "older", "listed", "table"].map((name): RoutedModel => ({ name: `acme/${name}`, upstream: "acme", kinds: ["chat"], state: "", digest: "", price: { input: "1", output: "2", currency: "USD", batch: null, units: {} } }));
  const rows = priceRows(models, [acme], [line("1", { source: "price-sheet" }, { model: "acme/table" })], NOW);
  it("is told: from a form, an import, a table, or the list", () =>
    expect(rows.map((row) => [row.name, sourceWords(row), row.since, row.by])).toEqual([
      ["acme/typed", "its provider’s form", "2026-02-01T00:00:00Z", "alice"],
      ["acme/taken", "imported from LiteLLM", "2026-03-01T00:00:00Z", "ci"],
      ["acme/older", "its provider’s form", null, ""],
      ["acme/listed", "public price list", null, ""],
      ["acme/table", "imported from price-sheet", "2026-01-01T00:00:00Z", "alice"],
    ]));
  it("is told of what cannot be called now, too", () => {
    const [row, ...more] = priceRows([], [{ ...acme, models: [own("taken", { source: "litellm", at: null, by: "ci" }), { ...own("listed", null), price: null }] } as unknown as Provider], [], NOW);
    expect([row?.name, row?.routed, row?.source, row?.imported]).toEqual(["acme/taken", false, "provider", "litellm"]);
    expect(more).toEqual([]);
  });
  it("tells what was imported from what somebody set", () => {
    expect(rows.filter((row) => isShown(row, "imported")).map((row) => row.name)).toEqual(["acme/taken", "acme/table"]);
    expect(rows.filter((row) => isShown(row, "set")).map((row) => row.name)).toEqual(["acme/typed", "acme/older"]);
  });
  it("sorts by the time since when it counts, those last that have none", () => expect(sortedRows(rows, "-since").map((row) => row.name)).toEqual(["acme/taken", "acme/typed", "acme/table", "acme/listed", "acme/older"]));
  it.each([
    ["from its beginning", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00Z"],
    ["not before it was added", "2025-04-01T00:00:00Z", "2026-01-01T00:00:00Z"],
  ])("counts a line %s", (_, valid_from, since) => expect(countsSince(line("a", { valid_from }))).toBe(since));
  it.each([
    ["set by Ada", {}, {}],
    ["imported from LiteLLM by Ada, for every project", { source: "litellm" }, { everywhere: true }],
    ["this installation: it runs here", { source: "local" }, { everywhere: true }],
  ])("is said of a line: %s", (words, change, more) => expect(whoSays(line("a", change, more), new Map([["alice", "Ada"]]))).toBe(words));
});

describe("a price's form", () => {
  const whole = { ...priceDraft("acme/a", null), input: "0.25", output: "2" };
  it("finds nothing wrong with one that is whole", () => expect(priceProblems(whole)).toEqual({}));
  it.each([
    ["no model", { model: "" }, "model"],
    ["a name that no model has", { model: "a model" }, "model"],
    ["nothing that is charged", { input: "", output: "" }, "input"],
    ["half a price", { output: "" }, "output"],
    ["words", { input: "cheap" }, "input"],
    ["less than nothing", { cache_read: "-1" }, "cache_read"],
    ["a unit without an amount", { units: { image: "" } }, "units.image"],
    ["batches that cost more", { batch: "50" }, "batch"],
    ["a currency that is none", { currency: "US" }, "currency"],
    ["an end before the beginning", { from: "2026-02-01T00:00", until: "2026-01-01T00:00" }, "until"],
  ])("names %s", (_, change, field) => expect(Object.keys(priceProblems({ ...whole, ...change }))).toEqual([field]));
  it("sends what was typed, and nothing for what was not", () =>
    expect(priceBody({ ...whole, input: "", output: "", currency: "eur", units: { image: " 0.04 " }, from: "2026-02-01T00:00" })).toEqual({ model: "acme/a", input: "0", output: "0", cache_read: null, cache_write: null, batch: null, currency: "EUR", units: { image: "0.04" }, valid_from: new Date("2026-02-01T00:00").toISOString(), valid_to: null, source: "manual" }));
});

it("prices are shown to the last digit, and what else is charged in words", () => {
  expect(["0.0375", "15", "1.256", "0.5", null].map((each) => exactPrice(each))).toEqual(["$0.0375", "$15.00", "$1.256", "$0.50", "–"]);
  expect(exactPrice("2", "CHF")).toBe("2.00 CHF");
  expect(elseOf({ ...price, cache_read: "0.1", units: { image: "0.04" }, batch: "0.5" })).toBe("cache read $0.10, $0.04 an image, × 0.5 in batches");
  expect([unitLabel("image"), unitLabel("pixel")]).toEqual(["Images, each", "pixel"]);
});
it("the URL of the prices is read, and what cannot be is left out", () => {
  expect(readPricesSearch({ q: "gpt", show: "unknown", sort: "-input", model: "a/b", add: "1" })).toEqual({ q: "gpt", show: "unknown", sort: "-input", model: "a/b", add: "1" });
  expect(readPricesSearch({ show: "free", sort: "name", model: "", set: 7 })).toEqual({});
  expect(readPricesSearch({ show: "imported", sort: "-since" })).toEqual({ show: "imported", sort: "-since" });
  expect(readPricesSearch({ set: "a/b", add: "1" })).toEqual({ set: "a/b" });
});
