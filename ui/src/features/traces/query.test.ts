import { describe, expect, it } from "vitest";
import { filterChips, formatQuery, parseDuration, parseQuery, withFilter, type Filters } from "./query";

describe("the query bar", () => {
  const cases: [string, Filters][] = [
    ["", {}],
    ["status:error", { status: "error" }],
    ["status:error app:assistant", { status: "error", app: "assistant" }],
    ["model:local/smollm2-135m", { model: "local/smollm2-135m" }],
    ["release:sha256:ab12", { release: "sha256:ab12" }],
    ['session:"a b"', { session: "a b" }],
    ["latency>=2s", { min: 2000 }],
    ["latency>=250", { min: 250 }],
    ["roll back", { text: "roll back" }],
    ['"status:error" literally', { text: "status:error literally" }],
    ["  app:a   hello ", { app: "a", text: "hello" }],
    ["APP:a", { app: "a" }],
  ];
  it.each(cases)("reads %j", (text, filters) => {
    expect(parseQuery(text)).toEqual({ filters, problems: [] });
  });
  it.each(cases)("writes what it read, so that the URL restores it: %j", (_, filters) => {
    expect(parseQuery(formatQuery(filters)).filters).toEqual(filters);
  });
  it.each([
    { text: 'say "hi" \\ there' },
    { session: 'quote " inside' },
    { name: "back\\slash" },
    { text: "app:assistant" },
    { status: "ok", app: "a", model: "m", release: "r", session: "s", user: "u", name: "n", min: 12.5, text: "t" },
  ] as Filters[])("round-trips %j", (filters) => {
    expect(parseQuery(formatQuery(filters))).toEqual({ filters, problems: [] });
  });
});

describe("what the query bar cannot understand is named, never dropped", () => {
  it.each([
    ["colour:red", "no filter colour:"],
    ["app:", "needs a value"],
    ["status:broken", "status: is one of"],
    ["latency>=fast", "latency>=500ms"],
    ["latency:5", "latency>=500ms"],
    ["app:a app:b", "stands twice"],
    ["app>=3", "no filter app>="],
  ])("%s", (text, problem) => {
    const { problems } = parseQuery(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });
  it("keeps the good filters beside a bad one", () => {
    expect(parseQuery("app:a colour:red").filters).toEqual({ app: "a" });
  });
});

describe("parts", () => {
  it("durations", () => expect(["2s", "1.5s", "500ms", "3m", "7", "x", "", "-1"].map(parseDuration)).toEqual([2000, 1500, 500, 180_000, 7, null, null, null]));
  it("removing a filter leaves no empty key behind", () => {
    expect(withFilter({ app: "a", status: "ok" }, "app", undefined)).toEqual({ status: "ok" });
    expect(withFilter({}, "app", "")).toEqual({});
    expect(withFilter({ app: "a" }, "app", "b")).toEqual({ app: "b" });
  });
  it("a chip per filter", () => expect(filterChips({ text: "x", app: "a", min: 5 }).map((c) => c.key)).toEqual(["app", "min", "text"]));
});
