import { describe, expect, it } from "vitest";
import { queryText } from "@/api/http";
import { filtersOf, nextSort, readTracesSearch, type TracesSearch } from "./search";

const back = (search: TracesSearch) => readTracesSearch(Object.fromEntries(new URLSearchParams(queryText(search as Record<string, string>))));

describe("the URL restores the traces page", () => {
  it.each([
    {},
    { window: "7d" },
    { sort: "duration" },
    { sort: "-cost", live: "1" },
    { status: "error", app: "a b&c=d", model: "x/y", release: "sha256:ab", min: 12.5, text: "50% of 100+ ünï" },
    { session: "123", user: "true", name: "null" },
  ] as TracesSearch[])("%j", (search) => expect(back(search)).toEqual(search));
});

describe("what makes no sense in a URL is as if it were not there", () => {
  it.each([{ window: "5y" }, { window: "toString" }, { sort: "-colour" }, { live: "yes" }, { status: "odd" }, { min: "x" }, { min: "-1" }, { min: "" }, { app: "" }, { app: 3 }, { novel: "x" }])("%j", (search) => {
    expect(readTracesSearch(search)).toEqual({});
  });
  it("the usual window and sort are not written", () => expect(readTracesSearch({ window: "24h", sort: "-start" })).toEqual({}));
});

it("filters are what is left without window, sort and live", () => {
  expect(filtersOf({ window: "7d", sort: "cost", live: "1", app: "a", min: 3 })).toEqual({ app: "a", min: 3 });
});

it("pressing a column's head turns its sort round", () => {
  expect([nextSort("-start", "duration"), nextSort("-duration", "duration"), nextSort("duration", "duration")]).toEqual(["-duration", "duration", "-duration"]);
});
