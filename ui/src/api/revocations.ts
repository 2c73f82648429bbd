import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Revocation = Schemas["RevocationView"];
export type Erasure = Schemas["ErasureView"];
export type Collection = Schemas["CollectionView"];

/** The newest revocations of one artifact, those that were taken back too. */
export const revocationsQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["revocations", project, digest],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/revocations", { params: { path: { project }, query: { digest, limit: 20 } }, signal }))).items,
  });

/** What a revocation would reach: artifacts, refs, what is served now. */
export const impactQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["impact", project, digest],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/artifacts/{digest}/impact", { params: { path: { project, digest } }, signal })),
    gcTime: 0,
  });

/** What holds an artifact, so that no collection takes it. */
export const holdersQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["holders", project, digest],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/artifacts/{digest}/holders", { params: { path: { project, digest } }, signal })),
    gcTime: 0,
  });

export function revoke(project: string, digest: string, reason: string): Promise<Schemas["RevokedView"]> {
  return answer(control.POST("/api/v1/projects/{project}/artifacts/{digest}/revoke", { params: { path: { project, digest } }, body: { reason } }));
}

export function reinstate(project: string, digest: string, reason: string): Promise<Revocation> {
  return answer(control.POST("/api/v1/projects/{project}/artifacts/{digest}/reinstate", { params: { path: { project, digest } }, body: { reason } }));
}

export function erase(project: string, digest: string, reason: string, force: boolean): Promise<Erasure> {
  return answer(control.POST("/api/v1/projects/{project}/artifacts/{digest}/erase", { params: { path: { project, digest } }, body: { reason, force } }));
}

/** Takes what nothing of the project needs; without `run` only says what would go. */
export function collect(project: string, body: { run: boolean; versions_older_than_days: number | null }): Promise<Collection> {
  return answer(control.POST("/api/v1/projects/{project}/gc", { params: { path: { project } }, body }));
}
