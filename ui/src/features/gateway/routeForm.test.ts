import { describe, expect, it } from "vitest";
import { conditionOf, newTarget, routeBodyOf, routeDraftOf, routeProblemsOf, targetsOf } from "./routeForm";

const draft = { ...routeDraftOf(undefined), name: "smart", targets: [newTarget("acme/big")] };

describe("a route's form", () => {
  it("sends no name in the body, and models without the space around them", () => {
    const body = routeBodyOf({ ...draft, targets: [newTarget(" acme/big ")] });
    expect("name" in body).toBe(false);
    expect(body.targets[0]?.model).toBe("acme/big");
  });
  it("finds nothing wrong with one that is whole", () => expect(routeProblemsOf(draft)).toEqual({}));
  it.each([
    ["a name with capitals", { name: "Smart" }, "name"],
    ["a name that means something else", { name: "health" }, "name"],
    ["a name that is taken", { name: "taken" }, "name"],
    ["no target", { targets: [] }, "targets"],
    ["an app as a target", { targets: [newTarget("app:bot")] }, "targets.0.model"],
    ["a target twice", { targets: [newTarget("a/b"), newTarget("a/b ")] }, "targets.1.model"],
    ["weights that are all nothing", { strategy: "weighted" as const, targets: [{ ...newTarget("a/b"), weight: 0 }] }, "targets"],
    ["a label with a space", { targets: [{ ...newTarget("a/b"), when: { segments: [], sensitivities: [], regions: ["eu west"] } }] }, "targets.0.regions"],
    ["its own name as an alias", { aliases: ["smart"] }, "aliases"],
    ["a fallback that is no model", { fallbacks: { ...draft.fallbacks, error: [newTarget("release:x")] } }, "fallbacks.error"],
    ["pauses that shrink", { retry: { ...draft.retry, first_pause_s: 9 } }, "retry.longest_pause_s"],
  ])("names %s", (_, change, field) => expect(Object.keys(routeProblemsOf({ ...draft, ...change }, ["taken"]))).toEqual([field]));
  it("keeps the weight of a fallback that stays", () => {
    const kept = { ...newTarget("a/b"), weight: 5 };
    expect(targetsOf(["c/d", "a/b"], [kept])).toEqual([newTarget("c/d"), kept]);
  });
  it("says a condition in words", () => {
    expect(conditionOf(newTarget("a/b"))).toBe("");
    expect(conditionOf({ ...newTarget("a/b"), when: { segments: ["beta"], sensitivities: [], regions: ["eu", "uk"] } })).toBe("segment beta, region eu or uk");
  });
});
