import { describe, expect, it } from "vitest";
import { MOST_USED, type Usage } from "@/api/limits";
import { callsOf, costLines } from "./keyUse";

const used = (change: Partial<Usage> = {}): Usage => ({ name: "key_1", title: "bot", calls: 1200, errors: 0, calls_without_cost: 0, answers_without_cost: 0, input_tokens: 0, cache_read_tokens: 0, cache_write_tokens: 0, output_tokens: 0, reasoning_tokens: 0, costs: [], ...change });
const texts = (change: Partial<Usage>): string[] => costLines(used(change)).map(({ text }) => text);

describe("what a key used", () => {
  it("is counted, and none where the server would have told", () => {
    expect(callsOf([used()], "key_1")).toBe("1,200");
    expect(callsOf([used()], "key_2")).toBe("0");
  });
  it("is not known before the server told, nor of keys past those that it tells of", () => {
    expect(callsOf(undefined, "key_2")).toBe("–");
    expect(callsOf(Array.from({ length: MOST_USED }, () => used()), "key_2")).toBe("–");
  });
  it("costs in each currency, and what is in none is said", () => {
    expect(texts({ costs: [{ amount: "0.0081", currency: "EUR" }, { amount: "2", currency: "USD" }] })).toEqual(["€0.00810", "$2.00"]);
    expect(texts({ costs: [{ amount: "2", currency: "USD" }], calls_without_cost: 3, answers_without_cost: 3 })).toEqual(["$2.00", "+ 3 calls of unknown cost"]);
    expect(texts({ costs: [{ amount: "0", currency: "USD" }], calls_without_cost: 1, answers_without_cost: 1 })).toEqual(["1 call of unknown cost"]);
  });
  it("is of unknown cost where a price lacks, however many calls broke off that had one", () => expect(texts({ calls: 10, errors: 5, costs: [{ amount: "2", currency: "USD" }], calls_without_cost: 5, answers_without_cost: 5 })).toEqual(["$2.00", "+ 5 calls of unknown cost"]));
  it("costs nothing where nothing was charged, also of calls that failed", () => {
    expect(texts({ costs: [{ amount: "0", currency: "EUR" }] })).toEqual(["€0.00"]);
    expect(texts({ errors: 2, calls_without_cost: 2 })).toEqual(["$0.00"]);
    expect(costLines(undefined)).toEqual([{ text: "–", unknown: true }]);
  });
});
