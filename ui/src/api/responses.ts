import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type BackgroundResponse = Schemas["BackgroundResponseView"];
export const RESPONSE_STATES = ["open", "completed", "incomplete", "failed", "cancelled"] as const;
export type ResponseState = (typeof RESPONSE_STATES)[number];
export const RESPONSE_SORTS = ["-created", "created"] as const;
export type ResponseSort = (typeof RESPONSE_SORTS)[number];

const PAGE = 100;
/** How often it is looked what became of those that are under way. */
const LIVE_MS = 5_000;

export interface ResponseSearch {
  q: string;
  state: ResponseState | undefined;
  sort: ResponseSort;
}

/** Whether a response is still to be answered. */
export const underWay = (response: BackgroundResponse): boolean => response.status === "queued" || response.status === "in_progress";

export const responsesQuery = (project: string, { q, state, sort }: ResponseSearch) =>
  infiniteQueryOptions({
    queryKey: ["responses", project, "all", q, state, sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/responses", { params: { path: { project }, query: { limit: PAGE, sort, ...(q === "" ? {} : { q }), ...(state === undefined ? {} : { status: state }), ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: LIVE_MS,
  });

export const responseQuery = (project: string, identity: string) =>
  queryOptions({
    queryKey: ["responses", project, "one", identity],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/responses/{identity}", { params: { path: { project, identity } }, signal })),
    refetchInterval: (query) => (query.state.data === undefined || underWay(query.state.data) ? LIVE_MS : false),
  });

export function cancelResponse(project: string, identity: string): Promise<BackgroundResponse> {
  return answer(control.POST("/api/v1/projects/{project}/responses/{identity}/cancel", { params: { path: { project, identity } } }));
}
