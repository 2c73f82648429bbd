import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type ReleaseListed = Schemas["ReleaseListed"];
export type ReleaseDiff = Schemas["ReleaseDiffView"];
export type PromptDiff = Schemas["ReleasePromptDiffView"];
export type DataDiff = Schemas["DataDiffView"];
export type ModelDiff = Schemas["ModelDiffView"];
export type CodeDiff = Schemas["CodeDiffView"];
export type Composed = Schemas["ComposedView"];
export type RolledBack = Schemas["RolledBackView"];

export const releasesQuery = (project: string, app: string) =>
  infiniteQueryOptions({
    queryKey: ["releases", project, app],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/apps/{app}/releases", { params: { path: { project, app }, query: { limit: 50, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: app !== "",
  });

export const releaseDiffQuery = (project: string, old: string, now: string, app = "") =>
  queryOptions({
    queryKey: ["release-diff", project, old, now, app],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/release-diff", { params: { path: { project }, query: { from: old, to: now, app } }, signal })),
    staleTime: 60_000,
    enabled: old !== "" && now !== "",
  });

export interface Derivation {
  from: string;
  set: Record<string, unknown>;
}

/** What a derivation would make, and how it differs from the release that it comes from; nothing is kept. */
export const previewQuery = (project: string, body: Derivation, enabled: boolean) =>
  queryOptions({
    queryKey: ["release-preview", project, body],
    queryFn: ({ signal }) => answer(control.POST("/api/v1/projects/{project}/releases/derive/preview", { params: { path: { project } }, body, signal })),
    enabled,
    retry: false,
  });

export function deriveRelease(project: string, body: Derivation & { reason: string; expected_outcome: string }): Promise<Composed> {
  return answer(control.POST("/api/v1/projects/{project}/releases/derive", { params: { path: { project } }, body }));
}

/** Moves a ref if it still points to `expected`; null makes it. */
export function moveRef(project: string, app: string, ref: string, digest: string, expected: string | null, reason: string): Promise<Schemas["AppRefView"]> {
  const header = expected === null ? { "if-none-match": "*" } : { "if-match": `"${expected}"` };
  return answer(control.PUT("/api/v1/projects/{project}/apps/{app}/refs/{ref}", { params: { path: { project, app, ref }, header }, body: { digest, reason } }));
}

export function rollBack(project: string, app: string, ref: string, body: Schemas["RollbackBody"]): Promise<RolledBack> {
  return answer(control.POST("/api/v1/projects/{project}/apps/{app}/refs/{ref}/rollback", { params: { path: { project, app, ref } }, body }));
}

export const runningCodeQuery = (project: string, app: string, ref: string) =>
  queryOptions({
    queryKey: ["running-code", project, app, ref],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/apps/{app}/refs/{ref}/code", { params: { path: { project, app, ref } }, signal })),
  });
