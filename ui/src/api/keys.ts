import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type ApiKey = Schemas["KeyView"];
export type NewSecret = Schemas["IssuedKeyView"];
export type KeyBody = Schemas["KeyBody"];
export type KeyChange = Schemas["KeyChangeBody"];

const CHOICES = 50;
const PAGE = 100;
/** So many ids the server takes at once. */
export const MOST_IDS = 100;

/** Keys to choose from: the newest that work, of those that hold a text. */
export const keyChoicesQuery = (project: string, q: string) =>
  queryOptions({
    queryKey: ["keys", project, "choices", q],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/keys", { params: { path: { project }, query: { limit: CHOICES, state: "active", ...(q === "" ? {} : { q }) } }, signal }))).items,
  });

/** The keys with these ids; what is none of the project's is not among them. */
export const keysOfQuery = (project: string, ids: readonly string[]) =>
  queryOptions({
    queryKey: ["keys", project, "of", ...ids],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/keys", { params: { path: { project }, query: { limit: MOST_IDS, id: [...ids] } }, signal }))).items,
    staleTime: 30_000,
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
