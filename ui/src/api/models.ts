import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Model = Schemas["ModelView"];

export const modelsQuery = (project: string, { q, sort }: { q: string; sort: "name" | "-name" }) =>
  infiniteQueryOptions({
    queryKey: ["models", project, "list", q, sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/models", { params: { path: { project }, query: { q, sort, limit: 100, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** A name may hold slashes (`local/smollm2-135m`), which stand in the path as they are. */
const slashesStay = (path: string, parts: Record<string, unknown>): string => path.replace(/\{(\w+)\}/g, (_, name: string) => String(parts[name]).split("/").map(encodeURIComponent).join("/"));

export const modelQuery = (project: string, name: string, version?: string) =>
  queryOptions({
    queryKey: ["models", project, "one", name, version ?? ""],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/models/{name}", { params: { path: { project, name }, query: version === undefined ? {} : { version } }, signal, pathSerializer: slashesStay })),
  });

export const modelPricesQuery = (project: string, model: string) =>
  queryOptions({
    queryKey: ["model-prices", project, model],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/model-prices", { params: { path: { project }, query: { model } }, signal }))).items,
  });

export type Price = Schemas["ModelPriceView"];
export type PriceEntry = Schemas["PriceEntryView"];
export type PriceBody = Schemas["PriceBody"];

/** The whole local price table, as the project sees it. */
export const allPricesQuery = (project: string) =>
  queryOptions({
    queryKey: ["model-prices", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/model-prices", { params: { path: { project } }, signal }))).items,
  });

export function addPrice(project: string, body: PriceBody): Promise<PriceEntry> {
  return answer(control.POST("/api/v1/projects/{project}/model-prices", { params: { path: { project } }, body }));
}

export function removePrice(project: string, price_id: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/model-prices/{price_id}", { params: { path: { project, price_id } } }));
}

export type Run = Schemas["RunView"];
export type Comparison = Schemas["ComparisonView"];
export type Alias = Schemas["ModelAliasView"];
export type ModelDetail = Schemas["ModelDetailView"];

export const modelVersionsQuery = (project: string, model: string) =>
  infiniteQueryOptions({
    queryKey: ["models", project, "versions", model],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/model-versions", { params: { path: { project }, query: { model, limit: 100, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const modelAliasesQuery = (project: string, model: string) =>
  queryOptions({
    queryKey: ["models", project, "aliases", model],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/model-aliases", { params: { path: { project }, query: { model } }, signal }))).items,
  });

export const RUN_STATES = ["running", "done", "failed"] as const;
export type RunState = (typeof RUN_STATES)[number];

export const runsQuery = (project: string, { experiment, state }: { experiment?: string | undefined; state?: RunState | undefined }) =>
  infiniteQueryOptions({
    queryKey: ["runs", project, experiment, state],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/runs", { params: { path: { project }, query: { limit: 50, ...(experiment ? { experiment } : {}), ...(state ? { state } : {}), ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const experimentsQuery = (project: string) =>
  queryOptions({
    queryKey: ["runs", project, "experiments"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/experiments", { params: { path: { project }, query: { limit: 200 } }, signal }))).items,
  });

/** As many runs as are set side by side, and metrics as are plotted at once: what the server allows. */
export const MOST_RUNS = 20;
export const MOST_METRICS = 12;

export const comparisonQuery = (project: string, run: string[], metric: string[]) =>
  queryOptions({
    queryKey: ["runs", project, "compare", run, metric],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/run-comparison", { params: { path: { project }, query: { run, metric, points: 300 } }, signal })),
    enabled: run.length > 0,
  });

/** Points an alias to a version if it still points to `expected`; null makes it. */
export function moveAlias(project: string, model: string, alias: string, version: string, reason: string, expected: string | null): Promise<Alias> {
  const header = expected === null ? { "if-none-match": "*" } : { "if-match": `"${expected}"` };
  return answer(control.PUT("/api/v1/projects/{project}/model-aliases/{alias}", { params: { path: { project, alias }, query: { model }, header }, body: { version, reason } }));
}
