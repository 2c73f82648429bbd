import { expect, it } from "vitest";
import { factsOf, savedOf, stateOf, sumUse } from "./cacheUse";

const item = (change: object = {}) => ({ app: "a", hits: 0, similar_hits: 0, shared_hits: 0, misses: 0, refreshes: 0, hit_rate: null, unpriced_hits: 0, saved_tokens: 0, saved_ms: 0, saved: [], ...change });

it("what the cache did adds up, each currency by itself", () => {
  const all = sumUse({ items: [item({ hits: 3, shared_hits: 2, misses: 1, saved: [{ amount: "0.10", currency: "USD" }, { amount: "2", currency: "EUR" }] }), item({ hits: 1, shared_hits: 1, misses: 3, saved: [{ amount: "0.05", currency: "USD" }] })] });
  expect([all.hits, all.shared_hits, all.misses, all.hit_rate]).toEqual([4, 3, 4, 0.5]);
  expect(savedOf(all)).toBe("$0.150 + €2.00");
});
it("of no call there is no rate, and nothing is saved", () => {
  const none = sumUse({ items: [] });
  expect([none.hit_rate, savedOf(none)]).toEqual([null, "$0.00"]);
});
it("a price that nobody knows is unknown, never nothing", () => expect(savedOf(sumUse({ items: [item({ hits: 2, unpriced_hits: 2 })] }))).toBe("unknown"));
it("a server of shared answers that is not up says why, and what to do", () => {
  const full = stateOf({ state: "read_only", why: "OOM command not allowed", workers: 2, found: 0 });
  expect([full.tone, full.text.includes("OOM command not allowed."), full.text.includes("maxmemory-policy")]).toEqual(["warn", true, true]);
  expect(stateOf({ state: "down", why: "", workers: 1, found: 0 }).text).not.toContain("It says");
  expect(stateOf({ state: "up", why: "", workers: 1, found: 0 }).text).toBe("Shared by 1 gateway worker.");
  expect(stateOf({ state: "none", why: "", workers: 0, found: null }).text).toContain("TETRAD_GATEWAY_CACHE_URL");
});
it("whoever is not told what the server said and did is told who is", () => {
  const others = stateOf({ state: "down", why: "it does not answer", workers: 1, found: null });
  expect([others.word, others.text.includes("It says"), others.text.endsWith("Admins of the installation are told why.")]).toEqual(["down", false, true]);
  expect(stateOf({ state: "up", why: "", workers: 1, found: null }).text).toBe("Shared by 1 gateway worker.");
  expect(factsOf({ found: null, absent: null, passed: null, stored: null, dropped: null, failed: null, broken: null })).toEqual([]);
  expect(factsOf({ found: 3, absent: 1, passed: 0, stored: 2, dropped: 0, failed: 1, broken: 0 })).toEqual(["3 of 4 searches found an answer", "2 kept", "1 failed"]);
});
