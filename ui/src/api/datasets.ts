import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, queryText, type Schemas } from "./http";
import { readProblem, unreachable } from "./problem";

export type DatasetListed = Schemas["DatasetListed"];
export type Dataset = Schemas["DatasetView"];
export type Row = Schemas["RowView"];
export type RowChange = Schemas["RowChangeView"];

export const DATASET_SORTS = ["name", "-name", "created", "-created"] as const;
export type DatasetSort = (typeof DATASET_SORTS)[number];
export const CHANGES = ["added", "removed", "changed", "moved"] as const;
export type ChangeKind = (typeof CHANGES)[number];
export const FORMATS = ["jsonl", "json", "csv", "parquet"] as const;
export type Format = (typeof FORMATS)[number];

/** What a role of a dataset means, in the words of the design. */
export const ROLES: Record<string, string> = {
  train: "learned from",
  eval: "measured with",
  fewshot: "shown as examples in the prompt",
  calibration: "used to quantise",
  rag_index: "searched while answering",
};

const next = (page: { next_cursor?: string | null }): string | undefined => page.next_cursor ?? undefined;
const from = (cursor: string): { cursor?: string } => (cursor === "" ? {} : { cursor });

export const datasetsQuery = (project: string, { q, sort }: { q: string; sort: DatasetSort }) =>
  infiniteQueryOptions({
    queryKey: ["datasets", project, "list", q, sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/datasets", { params: { path: { project }, query: { q, sort, limit: 50, ...from(pageParam) } }, signal })),
    initialPageParam: "",
    getNextPageParam: next,
  });

export const datasetQuery = (project: string, name: string, version?: string) =>
  queryOptions({
    queryKey: ["datasets", project, "one", name, version ?? ""],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/datasets/{name}", { params: { path: { project, name }, query: version === undefined ? {} : { version } }, signal })),
  });

export const datasetVersionsQuery = (project: string, name: string) =>
  infiniteQueryOptions({
    queryKey: ["datasets", project, "versions", name],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/datasets/{name}/versions", { params: { path: { project, name }, query: { limit: 100, ...from(pageParam) } }, signal })),
    initialPageParam: "",
    getNextPageParam: next,
  });

export const rowsQuery = (project: string, name: string, version: string, q: string) =>
  infiniteQueryOptions({
    queryKey: ["datasets", project, "rows", name, version, q],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/datasets/{name}/rows", { params: { path: { project, name }, query: { version, q, limit: 100, ...from(pageParam) } }, signal })),
    initialPageParam: "",
    getNextPageParam: next,
  });

export const rowQuery = (project: string, name: string, version: string, key: string) =>
  queryOptions({
    queryKey: ["datasets", project, "row", name, version, key],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets/{name}/rows", { params: { path: { project, name }, query: { version, key } }, signal }))).items[0] ?? null,
  });

export const datasetDiffQuery = (project: string, name: string, { old, now, change }: { old: string; now: string; change?: ChangeKind | undefined }) =>
  infiniteQueryOptions({
    queryKey: ["datasets", project, "diff", name, old, now, change ?? ""],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/datasets/{name}/diff", { params: { path: { project, name }, query: { from: old, to: now, limit: 50, ...(change ? { change } : {}), ...from(pageParam) } }, signal })),
    initialPageParam: "",
    getNextPageParam: next,
    // Versions do not change, so neither does what differs between them.
    staleTime: 60_000,
  });

export function exportUrl(project: string, name: string, version: string, format: "jsonl" | "csv"): string {
  return `/api/v1/projects/${encodeURIComponent(project)}/datasets/${encodeURIComponent(name)}/export${queryText({ version, format })}`;
}

export interface Import {
  format: Format;
  key?: string;
  role?: string;
  reason?: string;
  expected_outcome?: string;
}

/** Sends a file as the next version; `progress` hears the share that has arrived. Nothing is kept of a file with a faulty row. */
export function importDataset(project: string, name: string, file: Blob, options: Import, progress: (share: number) => void, signal?: AbortSignal): Promise<Dataset> {
  return new Promise((resolve, reject) => {
    // fetch tells nothing of what was sent; this does.
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1/projects/${encodeURIComponent(project)}/datasets/${encodeURIComponent(name)}/versions${queryText({ ...options })}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.responseType = "text";
    request.upload.onprogress = (event) => progress(event.lengthComputable && event.total > 0 ? event.loaded / event.total : 0);
    request.upload.onload = () => progress(1);
    request.onload = () => {
      const body = readJson(request.responseText);
      if (request.status >= 200 && request.status < 300 && body !== undefined) resolve(body as Dataset);
      else reject(readProblem(request.status, body));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("The import was stopped.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Puts one row behind the others, or in the place of the one with its key; the dataset is made where there is none. */
export function pushRow(project: string, name: string, row: { idempotency_key: string; key: string; value: Record<string, unknown>; reason: string }): Promise<Dataset> {
  const { idempotency_key, key, value, reason } = row;
  const rows = [{ value: value as Record<string, never>, ...(key === "" ? {} : { key }) }];
  return answer(control.POST("/api/v1/projects/{project}/datasets/{name}/rows", { params: { path: { project, name } }, body: { idempotency_key, rows, reason } }));
}
