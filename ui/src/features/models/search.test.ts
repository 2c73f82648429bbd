import { expect, it } from "vitest";
import { listOf, readCompareSearch, readRunsSearch, toggled } from "./search";

it("a list in the URL is each thing once, in order, and no longer than it may be", () => {
  expect(listOf("b,a,,b,c", 2)).toEqual(["b", "a"]);
  expect(listOf(undefined, 3)).toEqual([]);
});

it("a full list takes nothing more, but gives back what is in it", () => {
  expect(toggled(["a"], "b", 2)).toEqual(["a", "b"]);
  expect(toggled(["a", "b"], "c", 2)).toEqual(["a", "b"]);
  expect(toggled(["a", "b"], "a", 2)).toEqual(["b"]);
});

it("what makes no sense in the URL is left out", () => {
  expect(readRunsSearch({ state: "sleeping", experiment: "", runs: 3 })).toEqual({});
  expect(readCompareSearch({ runs: "a,b", only: "differ", metrics: "loss" })).toEqual({ runs: "a,b", only: "differ", metrics: "loss" });
});
