import { RUN_STATES, type RunState } from "@/api/models";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

export interface ModelsSearch {
  q?: string | undefined;
  sort?: "-name" | undefined;
}

export function readModelsSearch(search: Record<string, unknown>): ModelsSearch {
  const q = text(search.q);
  return { ...(q === undefined ? {} : { q }), ...(search.sort === "-name" ? { sort: "-name" as const } : {}) };
}

export interface ModelSearch {
  version?: string;
}

export function readModelSearch(search: Record<string, unknown>): ModelSearch {
  const version = text(search.version);
  return version === undefined ? {} : { version };
}

export interface RunsSearch {
  experiment?: string | undefined;
  state?: RunState | undefined;
  /** Ids of the runs that are set side by side, with commas between. */
  runs?: string | undefined;
}

export function readRunsSearch(search: Record<string, unknown>): RunsSearch {
  const [experiment, runs] = [text(search.experiment), text(search.runs)];
  const state = RUN_STATES.find((s) => s === search.state);
  return { ...(experiment === undefined ? {} : { experiment }), ...(state === undefined ? {} : { state }), ...(runs === undefined ? {} : { runs }) };
}

export interface CompareSearch {
  runs?: string | undefined;
  metrics?: string | undefined;
  /** Only parameters that differ. */
  only?: "differ" | undefined;
}

export function readCompareSearch(search: Record<string, unknown>): CompareSearch {
  const [runs, metrics] = [text(search.runs), text(search.metrics)];
  return { ...(runs === undefined ? {} : { runs }), ...(metrics === undefined ? {} : { metrics }), ...(search.only === "differ" ? { only: "differ" as const } : {}) };
}

/** What stands between commas, each once, in order, at most so many. */
export function listOf(value: string | undefined, most: number): string[] {
  return [...new Set((value ?? "").split(",").filter((each) => each !== ""))].slice(0, most);
}

/** The list with a thing added or taken away; a full list stays as it is. */
export function toggled(list: string[], one: string, most: number): string[] {
  if (list.includes(one)) return list.filter((each) => each !== one);
  return list.length < most ? [...list, one] : list;
}
