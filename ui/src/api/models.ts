import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Model = Schemas["ModelView"];
export type ModelPrice = Schemas["ModelPriceView"];

export const modelsQuery = (project: string) =>
  infiniteQueryOptions({
    queryKey: ["models", project, "list"],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/models", { params: { path: { project }, query: { limit: 100, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** A name may hold slashes (`local/smollm2-135m`), which stand in the path as they are. */
const asItIs = (name: string): { pathSerializer: (path: string, parts: { path?: Record<string, unknown> }) => string } => ({
  pathSerializer: (path, parts) => path.replace("{project}", encodeURIComponent(String(parts.path?.project))).replace("{name}", name.split("/").map(encodeURIComponent).join("/")),
});

export const modelQuery = (project: string, name: string, version?: string) =>
  queryOptions({
    queryKey: ["models", project, "one", name, version ?? ""],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/models/{name}", { params: { path: { project, name }, query: version === undefined ? {} : { version } }, signal, ...asItIs(name) })),
  });

export const modelPricesQuery = (project: string, model: string) =>
  queryOptions({
    queryKey: ["model-prices", project, model],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/model-prices", { params: { path: { project }, query: { model } }, signal }))).items,
  });

/** How far a run with this model can be made again: files that are kept allow the same bytes, what a provider hosts does not. */
export function reproductionCap(model: Pick<Model, "kind" | "immutable">): { level: "R1" | "R2"; why: string } {
  if (model.kind === "provider") return { level: "R2", why: model.immutable ? "hosted: the provider pins the snapshot, but its engine is not ours" : "hosted: the provider may change it under its name" };
  return { level: "R1", why: "weights are kept by digest: the same engine gives the same bytes" };
}
