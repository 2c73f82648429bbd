import { expect, it } from "vitest";
import { savedOf, sumUse } from "./cacheUse";

const item = (change: object = {}) => ({ app: "a", hits: 0, similar_hits: 0, misses: 0, refreshes: 0, hit_rate: null, unpriced_hits: 0, saved_tokens: 0, saved_ms: 0, saved: [], ...change });

it("what the cache did adds up, each currency by itself", () => {
  const all = sumUse({ items: [item({ hits: 3, misses: 1, saved: [{ amount: "0.10", currency: "USD" }, { amount: "2", currency: "EUR" }] }), item({ hits: 1, misses: 3, saved: [{ amount: "0.05", currency: "USD" }] })] });
  expect([all.hits, all.misses, all.hit_rate]).toEqual([4, 4, 0.5]);
  expect(savedOf(all)).toBe("$0.150 + €2.00");
});
it("of no call there is no rate, and nothing is saved", () => {
  const none = sumUse({ items: [] });
  expect([none.hit_rate, savedOf(none)]).toEqual([null, "$0.00"]);
});
it("a price that nobody knows is unknown, never nothing", () => expect(savedOf(sumUse({ items: [item({ hits: 2, unpriced_hits: 2 })] }))).toBe("unknown"));
