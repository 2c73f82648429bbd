import { describe, expect, it } from "vitest";
import { subjectOf } from "./words";
import { everything } from "@/api/http";
import {
  readBatchesSearch, readBudgetsSearch, readCacheSearch, readProvidersSearch, readResponsesSearch, readRoutesSearch, readToolServersSearch,
} from "./search";

describe("what the URL of a list says", () => {
  it("is read, and what cannot be is left out", () => {
    expect(readProvidersSearch({ q: "acme", sort: "-models" })).toEqual({ q: "acme", sort: "-models" });
    expect(readProvidersSearch({ q: "", sort: "name", add: "openai" })).toEqual({ add: "openai" });
    expect(readProvidersSearch({ q: 7, sort: "luck" })).toEqual({});
    expect(readRoutesSearch({ q: "smart", edit: "a", add: "1" })).toEqual({ q: "smart", edit: "a" });
    expect(readRoutesSearch({ sort: "-targets" })).toEqual({ sort: "-targets" });
    expect(readRoutesSearch({ sort: "luck" })).toEqual(readRoutesSearch({ sort: "name" }));
    expect(readCacheSearch({ q: "bot", sort: "-ttl", window: "24h" })).toEqual({ q: "bot", sort: "-ttl" });
    expect(readCacheSearch({ q: "", sort: "app", window: "7d" })).toEqual({ window: "7d" });
    expect(readToolServersSearch({ q: "x".repeat(300), sort: "url" })).toEqual({ q: "x".repeat(100), sort: "url" });
    expect(readResponsesSearch({ q: "bot", state: "open", sort: "created", show: "resp_1" })).toEqual({ q: "bot", state: "open", sort: "created", show: "resp_1" });
    expect(readBatchesSearch({ q: "bot", state: "open", model: "gpt-5", key: "key_1", sort: "created", show: "batch_1" })).toEqual({ q: "bot", state: "open", model: "gpt-5", key: "key_1", sort: "created", show: "batch_1" });
    expect(readBatchesSearch({ state: "lost", model: 7, key: "", sort: "-created", show: "" })).toEqual({});
    expect(readBudgetsSearch({ sort: "used", q: "desk", order: "-amount", add: "limit" })).toEqual({ add: "limit", sort: "used", q: "desk", order: "-amount" });
    expect(readBudgetsSearch({ sort: "-used", q: "", order: "whom", add: "x" })).toEqual({});
    expect(readResponsesSearch({ state: "lost", sort: "-created", show: "" })).toEqual({});
  });
});

describe("whom a limit concerns", () => {
  it("is told by a name, and of a key whose name is not known by the end of its id", () => {
    const id = "key_01a22de41b17701bb10403a581baf39e";
    expect(subjectOf({ subject: "key", name: id }, new Map([[id, "ci"]]))).toBe("the key ci");
    expect(subjectOf({ subject: "key", name: id })).toBe("the key …81baf39e");
    expect(subjectOf({ subject: "key", name: "ci" })).toBe("the key ci");
    expect(subjectOf({ subject: "team", name: "search" })).toBe("the team search");
    expect(subjectOf({ subject: "key", name: "*" })).toBe("each key");
  });
});

describe("a list that is wanted whole", () => {
  it("is read page by page until there is none", async () => {
    const pages = [
      { items: [1, 2], next_cursor: "a" },
      { items: [3], next_cursor: "b" },
      { items: [], next_cursor: null },
    ];
    const asked: (string | undefined)[] = [];
    const found = await everything(({ cursor }) => {
      asked.push(cursor);
      return Promise.resolve(pages[asked.length - 1] ?? { items: [] });
    });
    expect(found).toEqual([1, 2, 3]);
    expect(asked).toEqual([undefined, "a", "b"]);
  });
});
