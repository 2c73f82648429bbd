import { expect, it } from "vitest";
import { linesOf, RUN_INKS } from "./series";

it("each run keeps its ink, gaps stay gaps, and a run without the metric has no line", () => {
  const runs = [{ id: "a", name: "first" }, { id: "b", name: "" }, { id: "c", name: "third" }] as never;
  const series = [
    { run: "c", metric: "loss", steps: [0, 1], values: [2, "NaN"], total: 2, thinned: false },
    { run: "a", metric: "loss", steps: [0], values: [1], total: 1, thinned: false },
    { run: "b", metric: "other", steps: [0], values: [1], total: 1, thinned: false },
  ] as never;
  expect(linesOf({ runs, series }, "loss")).toEqual([
    { name: "first", ink: RUN_INKS[0], points: [[0, 1]] },
    { name: "third", ink: RUN_INKS[2], points: [[0, 2], [1, null]] },
  ]);
});
