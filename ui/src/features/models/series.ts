import type { Comparison } from "@/api/models";
import type { PlotLine } from "@/kit/Plot";

/** Told apart in both themes, and by people who see few colours; beyond these they begin anew. */
export const RUN_INKS = ["#0f8fa1", "#c2570c", "#7c5cd6", "#3f8f3f", "#c2417c", "#8a7a1f", "#5b6b78", "#b3261e"] as const;

/** A metric of the compared runs, each in the ink that its row has. */
export function linesOf(comparison: Pick<Comparison, "runs" | "series">, metric: string): PlotLine[] {
  return comparison.runs.flatMap((run, i) => {
    const series = comparison.series.find((each) => each.run === run.id && each.metric === metric);
    if (series === undefined) return [];
    const points = series.steps.map((step, j): [number, number | null] => {
      const value = series.values[j];
      return [step, typeof value === "number" ? value : null];
    });
    return [{ name: run.name || run.id, ink: RUN_INKS[i % RUN_INKS.length] ?? RUN_INKS[0], points }];
  });
}
