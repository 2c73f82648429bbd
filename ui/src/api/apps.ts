import { queryOptions } from "@tanstack/react-query";
import { inProject, request, type Page } from "./http";

export interface Ref {
  name: string;
  digest: string;
  moved_at: string;
  moved_by: string;
}

export interface App {
  name: string;
  default_ref: string;
  created_at: string;
  refs: Ref[];
}

export interface RefMove {
  ref: string;
  from: string | null;
  to: string;
  at: string;
  by: string;
  reason: string;
  sequence: number;
}

export interface AppDetail extends App {
  history: RefMove[];
}

export interface CodePart {
  role: string;
  digest: string;
  commit: string;
  dirty: boolean;
  files: { path: string; size: number; digest: string }[];
}

export interface DataPart {
  role: string;
  name: string;
  version: string;
  digest: string;
  rows: number;
  preview: Record<string, unknown>[];
}

export interface ModelPart {
  role: string;
  name: string;
  kind: string;
  digest: string;
  size_bytes: number | null;
  quantisation: string;
  licence: string;
  engine: string;
}

export interface PromptPart {
  role: string;
  name: string;
  version: string;
  digest: string;
  syntax: string;
  messages: { role: string; text: string }[];
  variables: { name: string; type: string; default: unknown; required: boolean; description: string }[];
}

export interface Release {
  digest: string;
  app: string;
  created_at: string;
  created_by: string;
  reason: string;
  manifest: unknown;
  params: Record<string, unknown>;
  code: CodePart[];
  data: DataPart[];
  model: ModelPart[];
  prompt: PromptPart[];
}

export const appsQuery = (project: string) =>
  queryOptions({
    queryKey: ["apps", project],
    queryFn: async ({ signal }) => (await request<Page<App>>("GET", inProject(project, "apps"), { query: { limit: 200 }, signal })).items,
  });

export const appQuery = (project: string, app: string) =>
  queryOptions({
    queryKey: ["app", project, app],
    queryFn: ({ signal }) => request<AppDetail>("GET", inProject(project, "apps", app), { signal }),
  });

export const releaseQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["release", project, digest],
    queryFn: ({ signal }) => request<Release>("GET", inProject(project, "releases", digest), { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    enabled: digest !== "",
  });
