import { shown } from "@/kit/Diff";

/** One thing that was done to rows, as people read it. */
export interface Step {
  op: string;
  rest: string;
}

/** The steps that an activity recorded: filter, split, dedupe, map, sample. */
export function stepsOf(params: Record<string, unknown>): Step[] {
  if (!Array.isArray(params.steps)) return [];
  return (params.steps as unknown[]).map((step) => {
    if (typeof step !== "object" || step === null) return { op: String(step), rest: "" };
    const entries = Object.entries(step);
    const name = entries.find(([key]) => key === "op" || key === "step" || key === "kind");
    if (name) return { op: String(name[1]), rest: entries.filter((e) => e !== name).map(([key, value]) => `${key} ${shown(value)}`).join(", ") };
    const [first] = entries;
    return entries.length === 1 && first ? { op: first[0], rest: shown(first[1]) } : { op: "step", rest: JSON.stringify(step) };
  });
}

/** What is shown by itself, or stands in the names of what went in and came out. */
const SHOWN_ELSEWHERE = new Set(["steps", "from", "name", "semver", "order"]);

/** What else an activity was told. */
export function toldOf(params: Record<string, unknown>): [string, string][] {
  return Object.entries(params)
    .filter(([name, value]) => !SHOWN_ELSEWHERE.has(name) && value !== null && value !== "")
    .map(([name, value]) => [name, shown(value)]);
}
