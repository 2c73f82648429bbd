import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Prompt = Schemas["PromptView"];
export type PromptListed = Schemas["PromptListed"];
export type PromptVersion = Schemas["PromptVersionView"];
export type PromptVariable = Schemas["PromptVariableView"];
export type PromptDiff = Schemas["PromptDiffView"];
export type Checked = Schemas["CheckedView"];
export type Floor = Schemas["FloorView"];
export type Committed = Schemas["CommittedView"];

export const PROMPT_SORTS = ["name", "-name", "created", "-created"] as const;
export type PromptSort = (typeof PROMPT_SORTS)[number];

const PAGE = 50;
/** A version never changes. */
const FOREVER = Number.POSITIVE_INFINITY;

export const promptsQuery = (project: string, q: string, sort: PromptSort) =>
  infiniteQueryOptions({
    queryKey: ["prompts", project, q, sort],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/prompts", { params: { path: { project }, query: { limit: PAGE, q, sort, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** A version of a prompt by number or by digest; the newest without either. */
export const promptQuery = (project: string, name: string, at: { version?: string | undefined; digest?: string | undefined } = {}) =>
  queryOptions({
    queryKey: ["prompt", project, name, at.version ?? "", at.digest ?? ""],
    queryFn: ({ signal }) =>
      answer(control.GET("/api/v1/projects/{project}/prompts/{name}", { params: { path: { project, name }, query: { ...(at.version ? { version: at.version } : {}), ...(at.digest ? { digest: at.digest } : {}) } }, signal })),
    staleTime: at.version || at.digest ? FOREVER : 5_000,
  });

export const promptVersionsQuery = (project: string, name: string) =>
  infiniteQueryOptions({
    queryKey: ["prompt-versions", project, name],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/prompts/{name}/versions", { params: { path: { project, name }, query: { limit: PAGE, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const promptLabelsQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["prompt-labels", project, name],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/prompts/{name}/labels", { params: { path: { project, name } }, signal }))).items,
  });

export const promptDiffQuery = (project: string, name: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["prompt-diff", project, name, from, to],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/prompts/{name}/diff", { params: { path: { project, name }, query: { from, to } }, signal })),
    staleTime: FOREVER,
    enabled: from !== "" && to !== "",
  });

/** What a commit of a text would do; its error names the line that cannot be. */
export const promptCheckQuery = (project: string, name: string, text: string) =>
  queryOptions({
    queryKey: ["prompt-check", project, name, text],
    queryFn: ({ signal }) => answer(control.POST("/api/v1/projects/{project}/prompts/{name}/check", { params: { path: { project, name } }, body: { text }, signal })),
    staleTime: 30_000,
    gcTime: 60_000,
  });

export function commitPrompt(project: string, name: string, body: Pick<Schemas["CommitBody"], "text" | "reason" | "expected_outcome" | "expected">): Promise<Committed> {
  return answer(control.POST("/api/v1/projects/{project}/prompts/{name}/versions", { params: { path: { project, name } }, body: { lower_reason: "", ...body } }));
}

/** Points a label to a version, if it still points to `expected` (null: it is new). */
export function moveLabel(project: string, name: string, label: string, version: string, reason: string, expected: string | null): Promise<Schemas["PromptLabelView"]> {
  return answer(
    control.PUT("/api/v1/projects/{project}/prompts/{name}/labels/{label}", {
      params: { path: { project, name, label }, header: expected === null ? { "if-none-match": "*" } : { "if-match": `"${expected}"` } },
      body: { version, reason },
    }),
  );
}
