import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type ChangeListed = Schemas["ChangeListed"];
export type Change = Schemas["ChangeView"];
export type ChangeState = ChangeListed["state"];
export type ChangeChecks = Schemas["ChangeChecksView"];
export type Requirement = Schemas["RequirementView"];
export type Thread = Schemas["ChangeThreadView"];
export type Anchor = Schemas["AnchorBody"];
export type ReleaseDiff = Schemas["ReleaseDiffView"];
export type PromptPartDiff = Schemas["ReleasePromptDiffView"];
export type OpenChange = Schemas["OpenChangeBody"];

const PAGE = 50;
const at = "/api/v1/projects/{project}/change-requests/{number}" as const;

export interface ChangeFilter {
  app?: string | undefined;
  /** Any of these; all without it. */
  states?: ChangeState[] | undefined;
}

/** A change request, and what others do to it meanwhile, is looked at again every few seconds. */
const FRESH_MS = 5_000;

export const changesQuery = (project: string, filter: ChangeFilter) =>
  infiniteQueryOptions({
    queryKey: ["changes", project, filter],
    queryFn: ({ pageParam, signal }) =>
      answer(
        control.GET("/api/v1/projects/{project}/change-requests", {
          params: { path: { project }, query: { limit: PAGE, ...(filter.app ? { app: filter.app } : {}), ...(filter.states ? { state: filter.states } : {}), ...(pageParam === "" ? {} : { cursor: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const changeQuery = (project: string, number: number) =>
  queryOptions({ queryKey: ["change", project, number], queryFn: ({ signal }) => answer(control.GET(at, { params: { path: { project, number } }, signal })), refetchInterval: FRESH_MS });

export const changeDiffQuery = (project: string, number: number, candidate: string) =>
  queryOptions({
    queryKey: ["change-diff", project, number, candidate],
    queryFn: ({ signal }) => answer(control.GET(`${at}/diff`, { params: { path: { project, number } }, signal })),
    staleTime: 60_000,
  });

export const changeChecksQuery = (project: string, number: number) =>
  queryOptions({ queryKey: ["change-checks", project, number], queryFn: ({ signal }) => answer(control.GET(`${at}/checks`, { params: { path: { project, number } }, signal })), refetchInterval: FRESH_MS });

export const changeThreadsQuery = (project: string, number: number) =>
  queryOptions({
    queryKey: ["change-threads", project, number],
    queryFn: async ({ signal }) => (await answer(control.GET(`${at}/comments`, { params: { path: { project, number } }, signal }))).items,
    refetchInterval: FRESH_MS,
  });

export const changeEventsQuery = (project: string, number: number) =>
  infiniteQueryOptions({
    queryKey: ["change-events", project, number],
    queryFn: ({ pageParam, signal }) => answer(control.GET(`${at}/events`, { params: { path: { project, number }, query: { limit: PAGE, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const changeRebaseQuery = (project: string, number: number, against: string) =>
  queryOptions({ queryKey: ["change-rebase", project, number, against], queryFn: ({ signal }) => answer(control.GET(`${at}/rebase`, { params: { path: { project, number } }, signal })) });

/** Opens a change request; the same `key` again is the same change request. */
export function openChange(project: string, body: OpenChange): Promise<Change> {
  return answer(control.POST("/api/v1/projects/{project}/change-requests", { params: { path: { project } }, body }));
}

export function pushChange(project: string, number: number, body: Schemas["PushChangeBody"]): Promise<Change> {
  return answer(control.POST(`${at}/push`, { params: { path: { project, number } }, body }));
}

export function editChange(project: string, number: number, body: Schemas["EditChangeBody"]): Promise<Change> {
  return answer(control.PATCH(at, { params: { path: { project, number } }, body }));
}

export function proposeChange(project: string, number: number): Promise<Change> {
  return answer(control.POST(`${at}/propose`, { params: { path: { project, number } } }));
}

export function withdrawChange(project: string, number: number): Promise<Change> {
  return answer(control.POST(`${at}/withdraw`, { params: { path: { project, number } } }));
}

export function reviewChange(project: string, number: number, body: Pick<Schemas["ReviewChangeBody"], "decision" | "revision" | "comment">): Promise<Change> {
  return answer(control.POST(`${at}/reviews`, { params: { path: { project, number } }, body: { parts: [], ...body } }));
}

export function rebaseChange(project: string, number: number, body: Schemas["RebaseChangeBody"]): Promise<Change> {
  return answer(control.POST(`${at}/rebase`, { params: { path: { project, number } }, body }));
}

export function mergeChange(project: string, number: number, body: Schemas["MergeChangeBody"]): Promise<Change> {
  return answer(control.POST(`${at}/merge`, { params: { path: { project, number } }, body }));
}

export function closeChange(project: string, number: number, reason: string): Promise<Change> {
  return answer(control.POST(`${at}/close`, { params: { path: { project, number } }, body: { reason } }));
}

export function commentOnChange(project: string, number: number, body: Partial<Schemas["ChangeCommentBody"]> & { body: string }): Promise<Thread> {
  return answer(control.POST(`${at}/comments`, { params: { path: { project, number } }, body: { key: "", reply_to: "", ...body } }));
}

export function resolveThread(project: string, number: number, thread: string, resolved: boolean): Promise<Thread> {
  return answer(control.PUT(`${at}/threads/{thread}`, { params: { path: { project, number, thread } }, body: { resolved } }));
}
