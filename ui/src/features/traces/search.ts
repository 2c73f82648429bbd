import { SORTS, type Sort } from "@/api/traces";
import { FIELDS, STATUSES, type Filters } from "./query";

export const TRACE_WINDOWS = { "15m": 900, "1h": 3600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000 } as const;
export type TraceWindow = keyof typeof TRACE_WINDOWS;

/** What the URL of the traces page says; everything that is as usual is left out of it. */
export interface TracesSearch extends Filters {
  window?: TraceWindow;
  sort?: Sort;
  live?: "1";
}

export const DEFAULT_WINDOW: TraceWindow = "24h";
export const DEFAULT_SORT: Sort = "-start";

/** Reads the URL; what makes no sense there is left out, as if it were not written. */
export function readTracesSearch(search: Record<string, unknown>): TracesSearch {
  const read: TracesSearch = {};
  const window = search.window;
  if (typeof window === "string" && Object.hasOwn(TRACE_WINDOWS, window) && window !== DEFAULT_WINDOW) read.window = window as TraceWindow;
  const sort = search.sort;
  if (typeof sort === "string" && (SORTS as readonly string[]).includes(sort.replace(/^-/, "")) && sort !== DEFAULT_SORT) read.sort = sort as Sort;
  if (search.live === "1") read.live = "1";
  for (const field of FIELDS) {
    const value = search[field];
    if (typeof value !== "string" || value === "") continue;
    if (field !== "status" || (STATUSES as readonly string[]).includes(value)) read[field] = value;
  }
  const min = Number(search.min);
  if (search.min !== undefined && search.min !== "" && Number.isFinite(min) && min >= 0) read.min = min;
  if (typeof search.text === "string" && search.text !== "") read.text = search.text;
  return read;
}

/** The filters among what the URL says. */
export function filtersOf(search: TracesSearch): Filters {
  return Object.fromEntries(Object.entries(search).filter(([key]) => !["window", "sort", "live"].includes(key)));
}

/** The next sort when a column's head is pressed: first its natural way, then the other, and round. */
export function nextSort(current: Sort, column: (typeof SORTS)[number]): Sort {
  return current === `-${column}` ? column : `-${column}`;
}
