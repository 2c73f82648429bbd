import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Ref = Schemas["AppRefView"];
export type App = Schemas["AppView"];
export type AppDetail = Schemas["AppDetailView"];
export type Release = Schemas["ReleaseView"];
export type CodePart = Schemas["CodePartView"];
export type DataPart = Schemas["DataPartView"];
export type ModelPart = Schemas["ModelPartView"];
export type PromptPart = Schemas["PromptPartView"];

const MOST = 200;

export const appsQuery = (project: string) =>
  queryOptions({
    queryKey: ["apps", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/apps", { params: { path: { project }, query: { limit: MOST } }, signal }))).items,
  });

export const appQuery = (project: string, app: string) =>
  queryOptions({
    queryKey: ["app", project, app],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/apps/{app}", { params: { path: { project, app } }, signal })),
  });

export const releaseQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["release", project, digest],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/releases/{digest}", { params: { path: { project, digest } }, signal })),
    staleTime: 60_000,
    enabled: digest !== "",
  });

/** What differs from one release to another, part by part; `summary` says it in lines. */
export const releaseDiffQuery = (project: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["release-diff", project, from, to],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/release-diff", { params: { path: { project }, query: { from, to } }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });

export function rollBack(project: string, app: string, ref: string, body: Schemas["RollbackBody"]): Promise<Schemas["RolledBackView"]> {
  return answer(control.POST("/api/v1/projects/{project}/apps/{app}/refs/{ref}/rollback", { params: { path: { project, app, ref } }, body }));
}
