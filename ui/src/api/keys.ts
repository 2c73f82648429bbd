import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type ApiKey = Schemas["KeyView"];
export type NewSecret = Schemas["IssuedKeyView"];
export type KeyBody = Schemas["KeyBody"];

const MOST = 200;

export const keysQuery = (project: string) =>
  queryOptions({
    queryKey: ["keys", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/keys", { params: { path: { project }, query: { limit: MOST } }, signal }))).items,
  });

export function createKey(project: string, body: KeyBody): Promise<NewSecret> {
  return answer(control.POST("/api/v1/projects/{project}/keys", { params: { path: { project } }, body }));
}

export function rotateKey(project: string, key_id: string, grace_s: number): Promise<NewSecret> {
  return answer(control.POST("/api/v1/projects/{project}/keys/{key_id}/rotate", { params: { path: { project, key_id } }, body: { grace_s } }));
}

export function revokeKey(project: string, key_id: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/keys/{key_id}", { params: { path: { project, key_id } } }));
}
