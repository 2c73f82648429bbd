import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type ApiKey = Schemas["KeyView"];
export type NewSecret = Schemas["IssuedKeyView"];
export type KeyBody = Schemas["KeyBody"];
export type KeyChange = Schemas["KeyChangeBody"];

const MOST = 200;
const PAGE = 100;

/** As many keys as are chosen from, the newest first. */
export const keysQuery = (project: string) =>
  queryOptions({
    queryKey: ["keys", project, "some"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/keys", { params: { path: { project }, query: { limit: MOST } }, signal }))).items,
  });

export const KEY_SORTS = ["-created", "created", "name", "-name", "-last_used", "last_used", "expires", "-expires"] as const;
export type KeySort = (typeof KEY_SORTS)[number];
export const KEY_STATES = ["active", "expired", "revoked"] as const;

export interface KeySearch {
  q: string;
  state: ApiKey["state"] | undefined;
  sort: KeySort;
}

export const allKeysQuery = (project: string, { q, state, sort }: KeySearch) =>
  infiniteQueryOptions({
    queryKey: ["keys", project, "all", q, state, sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/keys", { params: { path: { project }, query: { limit: PAGE, sort, ...(q === "" ? {} : { q }), ...(state === undefined ? {} : { state }), ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export function createKey(project: string, body: KeyBody): Promise<NewSecret> {
  return answer(control.POST("/api/v1/projects/{project}/keys", { params: { path: { project } }, body }));
}

export function changeKey(project: string, key_id: string, body: KeyChange): Promise<ApiKey> {
  return answer(control.PATCH("/api/v1/projects/{project}/keys/{key_id}", { params: { path: { project, key_id } }, body }));
}

export function rotateKey(project: string, key_id: string, grace_s: number): Promise<NewSecret> {
  return answer(control.POST("/api/v1/projects/{project}/keys/{key_id}/rotate", { params: { path: { project, key_id } }, body: { grace_s } }));
}

export function revokeKey(project: string, key_id: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/keys/{key_id}", { params: { path: { project, key_id } } }));
}
