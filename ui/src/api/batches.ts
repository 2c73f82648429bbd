import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Batch = Schemas["BatchView"];
export type BatchDetail = Schemas["BatchDetailView"];
export type BatchFile = Schemas["BatchFileView"];
export type BatchCost = Schemas["BatchCostView"];
export const BATCH_STATES = ["open", "completed", "failed", "expired", "cancelled"] as const;
export type BatchState = (typeof BATCH_STATES)[number];
export const BATCH_SORTS = ["-created", "created"] as const;
export type BatchSort = (typeof BATCH_SORTS)[number];

const PAGE = 100;
/** How often it is looked how far those that are not over have come. */
const LIVE_MS = 5_000;
/** Spans of the last lines come a little after the end. */
const LATE_MS = 60_000;

export interface BatchSearch {
  q: string;
  state: BatchState | undefined;
  model: string;
  key: string;
  sort: BatchSort;
}

const OVER = new Set(["completed", "failed", "expired", "cancelled"]);

/** Whether a batch is not over. */
export const isOpen = ({ status }: Pick<Batch, "status">): boolean => !OVER.has(status);

/** Whether it can still be cancelled. */
export const canCancel = ({ status }: Pick<Batch, "status">): boolean => status === "validating" || status === "in_progress";

/** When a batch was over, in milliseconds; null while it is not. */
export function endedAt(batch: Pick<Batch, "status" | "times" | "created_at">): number | null {
  return isOpen(batch) ? null : (batch.times[batch.status] ?? batch.created_at) * 1000;
}

export const batchesQuery = (project: string, { q, state, model, key, sort }: BatchSearch) =>
  infiniteQueryOptions({
    queryKey: ["batches", project, "all", q, state, model, key, sort],
    queryFn: ({ pageParam, signal }) =>
      answer(
        control.GET("/api/v1/projects/{project}/batches", {
          params: {
            path: { project },
            query: { limit: PAGE, sort, ...(q === "" ? {} : { q }), ...(state === undefined ? {} : { status: state }), ...(model === "" ? {} : { model }), ...(key === "" ? {} : { key }), ...(pageParam === "" ? {} : { cursor: pageParam }) },
          },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: LIVE_MS,
  });

export const batchQuery = (project: string, identity: string) =>
  queryOptions({
    queryKey: ["batches", project, "one", identity],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/batches/{identity}", { params: { path: { project, identity } }, signal })),
    refetchInterval: (query) => (query.state.data === undefined || isOpen(query.state.data) ? LIVE_MS : false),
  });

/** What its lines cost: asked for again while that can still grow. */
export const batchCostQuery = (project: string, batch: Pick<Batch, "id" | "status" | "times" | "created_at">) =>
  queryOptions({
    queryKey: ["batches", project, "cost", batch.id, batch.status],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/batches/{identity}/cost", { params: { path: { project, identity: batch.id } }, signal })),
    refetchInterval: () => {
      const ended = endedAt(batch);
      return ended === null || Date.now() - ended < LATE_MS ? 2 * LIVE_MS : false;
    },
  });

export function cancelBatch(project: string, identity: string): Promise<BatchDetail> {
  return answer(control.POST("/api/v1/projects/{project}/batches/{identity}/cancel", { params: { path: { project, identity } } }));
}
