import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Reproduction = Schemas["ReproductionView"];
export type ReproductionDetail = Schemas["ReproductionDetailView"];

const FRESH_MS = 1_500;

export function underway(reproduction: Pick<Reproduction, "state">): boolean {
  return reproduction.state === "queued" || reproduction.state === "running";
}

export const reproductionsQuery = (project: string, digest: string) =>
  infiniteQueryOptions({
    queryKey: ["reproductions", project, digest],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/releases/{digest}/reproductions", { params: { path: { project, digest }, query: { limit: 20, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: (query) => (query.state.data?.pages.some((page) => page.items.some(underway)) ? FRESH_MS : false),
  });

/** One of them with its report; looked at again while it runs. */
export const reproductionQuery = (project: string, digest: string, reproduction: string) =>
  queryOptions({
    queryKey: ["reproduction", project, digest, reproduction],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/releases/{digest}/reproductions/{reproduction}", { params: { path: { project, digest, reproduction } }, signal })),
    refetchInterval: (query) => (query.state.data === undefined || underway(query.state.data) ? FRESH_MS : false),
    enabled: reproduction !== "",
  });

/** `key` makes the same press the same reproduction, however often it is sent. */
export function reproduce(project: string, digest: string, body: { level?: "R0" | "R1"; record?: boolean; recording?: string; from_traces?: number; key: string }): Promise<Reproduction> {
  return answer(
    control.POST("/api/v1/projects/{project}/releases/{digest}/reproductions", {
      params: { path: { project, digest } },
      body: { record: false, recording: "", from_traces: 0, requests: [], ...body },
    }),
  );
}
