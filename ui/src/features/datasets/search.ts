import { CHANGES, DATASET_SORTS, type ChangeKind, type DatasetSort } from "@/api/datasets";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

export interface DatasetsSearch {
  q?: string;
  sort?: DatasetSort;
}

/** Reads the URL of the list; what makes no sense there is left out. */
export function readDatasetsSearch(search: Record<string, unknown>): DatasetsSearch {
  const sort = DATASET_SORTS.find((s) => s === search.sort);
  const q = text(search.q);
  return { ...(q === undefined ? {} : { q }), ...(sort === undefined || sort === "name" ? {} : { sort }) };
}

export const TABS = ["rows", "schema", "versions", "lineage"] as const;
export type DatasetTab = (typeof TABS)[number];

export interface DatasetSearch {
  version?: string;
  tab?: DatasetTab;
  q?: string;
  row?: string;
}

/** Reads the URL of one dataset: which version, what of it, which row is open. */
export function readDatasetSearch(search: Record<string, unknown>): DatasetSearch {
  const tab = TABS.find((t) => t === search.tab);
  const [version, q, row] = [text(search.version), text(search.q), text(search.row)];
  return { ...(version === undefined ? {} : { version }), ...(tab === undefined || tab === "rows" ? {} : { tab }), ...(q === undefined ? {} : { q }), ...(row === undefined ? {} : { row }) };
}

export interface DatasetDiffSearch {
  from?: string;
  to?: string;
  change?: ChangeKind;
}

export function readDatasetDiffSearch(search: Record<string, unknown>): DatasetDiffSearch {
  const change = CHANGES.find((c) => c === search.change);
  const [from, to] = [text(search.from), text(search.to)];
  return { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }), ...(change === undefined ? {} : { change }) };
}
