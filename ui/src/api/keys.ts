import { queryOptions } from "@tanstack/react-query";
import { inProject, request, type Page } from "./http";

export interface ApiKey {
  id: string;
  name: string;
  scopes: string[];
  prefix: string;
  created_at: string;
  created_by: string;
  expires_at: string | null;
  last_used_at: string | null;
  state: "active" | "expiring" | "expired" | "revoked";
}

export interface NewSecret {
  key: ApiKey;
  secret: string;
}

export const keysQuery = (project: string) =>
  queryOptions({
    queryKey: ["keys", project],
    queryFn: async ({ signal }) => (await request<Page<ApiKey>>("GET", inProject(project, "keys"), { query: { limit: 200 }, signal })).items,
  });

export function createKey(project: string, name: string, scopes: string[], expires_at: string | null): Promise<NewSecret> {
  return request<NewSecret>("POST", inProject(project, "keys"), { body: { name, scopes, expires_at } });
}

export function rotateKey(project: string, id: string, grace_s: number): Promise<NewSecret> {
  return request<NewSecret>("POST", inProject(project, "keys", id, "rotate"), { body: { grace_s } });
}

export function revokeKey(project: string, id: string): Promise<void> {
  return request<undefined>("DELETE", inProject(project, "keys", id));
}
