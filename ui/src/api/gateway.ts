import { queryOptions } from "@tanstack/react-query";
import { answer, control, everything, type Schemas } from "./http";
import type { Window } from "./overview";

export type Provider = Schemas["ProviderView"];
export type ProviderBody = Schemas["ProviderBody"];
export type ProviderModel = Schemas["ProviderModelView"];
export type ProviderHealth = Schemas["ProviderHealthView"];
export type Preset = Schemas["PresetView"];
export type ProviderCheck = Schemas["ProviderCheckView"];
export type Traffic = Schemas["TrafficView"];
export type UpstreamTraffic = Schemas["UpstreamTrafficView"];
export type CallFailure = Schemas["CallFailureView"];
export type RoutedModel = Schemas["RoutedModelView"];
export type ModelRoute = Schemas["ModelRouteView"];
export type ModelRouteBody = Schemas["ModelRouteBody"];
export type RouteTarget = Schemas["RouteTargetBody"];
export type TargetHealth = Schemas["TargetSummaryView"];
export type CachePolicy = Schemas["CacheView"];
export type CacheBody = Schemas["CacheBody"];
export type CacheUse = Schemas["CacheUseView"];
export type CacheServer = Schemas["CacheServerView"];
export type Secret = Schemas["SecretView"];

/** So many secrets are chosen from. */
export const MOST_SECRETS = 200;
/** How often what gateways do is asked for again. */
const LIVE_MS = 5_000;

const MOST = 200;
export const PROVIDER_SORTS = ["name", "-name", "adapter", "-adapter", "models", "-models"] as const;
export type ProviderSort = (typeof PROVIDER_SORTS)[number];

export const providersQuery = (project: string, q = "", sort: ProviderSort = "name") =>
  queryOptions({
    queryKey: ["providers", project, "list", q, sort],
    queryFn: ({ signal }) => everything((cursor) => answer(control.GET("/api/v1/projects/{project}/providers", { params: { path: { project }, query: { limit: MOST, sort, ...(q === "" ? {} : { q }), ...cursor } }, signal }))),
  });

export const providerQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["providers", project, "one", name],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/providers/{name}", { params: { path: { project, name } }, signal })),
  });

/** What is known of providers beforehand. */
export const presetsQuery = queryOptions({
  queryKey: ["provider-presets"],
  queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/provider-presets", { signal }))).items,
  staleTime: Infinity,
});

/** The names of the models that a provider lists which is described here, and not kept. */
export async function discoverModels(project: string, name: string, body: ProviderBody): Promise<string[]> {
  return (await answer(control.POST("/api/v1/projects/{project}/providers/{name}/discover", { params: { path: { project, name } }, body }))).items.map((model) => model.name);
}

/** Calls a provider once for each thing that it may be asked for; the calls cost what such calls cost. */
export async function tryProvider(project: string, name: string, model: string): Promise<ProviderCheck[]> {
  return (await answer(control.POST("/api/v1/projects/{project}/providers/{name}/test", { params: { path: { project, name }, query: { model } } }))).items;
}

export const providerHealthQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["provider-health", project, name],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/providers/{name}/health", { params: { path: { project, name } }, signal })),
    refetchInterval: LIVE_MS,
  });

/** How calls of each provider and engine went in the last minutes, by their spans. */
export const trafficQuery = (project: string, window: Window = "15m") =>
  queryOptions({
    queryKey: ["provider-traffic", project, window],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/provider-traffic", { params: { path: { project }, query: { window } }, signal })),
    refetchInterval: LIVE_MS,
  });

export function putProvider(project: string, name: string, body: ProviderBody): Promise<Provider> {
  return answer(control.PUT("/api/v1/projects/{project}/providers/{name}", { params: { path: { project, name } }, body }));
}

export function deleteProvider(project: string, name: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/providers/{name}", { params: { path: { project, name } } }));
}

/** The secrets of a project by name; no route returns their values. */
export const secretsQuery = (project: string) =>
  queryOptions({
    queryKey: ["secrets", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/secrets", { params: { path: { project }, query: { limit: MOST_SECRETS } }, signal }))).items,
  });

export function setSecret(project: string, name: string, value: string): Promise<Secret> {
  return answer(control.PUT("/api/v1/projects/{project}/secrets/{name}", { params: { path: { project, name } }, body: { value } }));
}

export const routedModelsQuery = (project: string) =>
  queryOptions({
    queryKey: ["routed-models", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/models", { params: { query: { project } }, signal }))).items,
    staleTime: 10_000,
  });

export const ROUTE_SORTS = ["name", "-name", "strategy", "-strategy", "targets", "-targets"] as const;
export type RouteSort = (typeof ROUTE_SORTS)[number];

export const routesQuery = (project: string, q = "", sort: RouteSort = "name") =>
  queryOptions({
    queryKey: ["model-routes", project, "list", q, sort],
    queryFn: ({ signal }) => everything((cursor) => answer(control.GET("/api/v1/projects/{project}/routes", { params: { path: { project }, query: { limit: MOST, sort, ...(q === "" ? {} : { q }), ...cursor } }, signal }))),
  });

export const routeHealthQuery = (project: string) =>
  queryOptions({
    queryKey: ["model-routes", project, "health"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/routes/health", { params: { path: { project } }, signal }))).items,
    refetchInterval: LIVE_MS,
  });

export function putRoute(project: string, name: string, body: ModelRouteBody): Promise<ModelRoute> {
  return answer(control.PUT("/api/v1/projects/{project}/routes/{name}", { params: { path: { project, name } }, body }));
}

export function deleteRoute(project: string, name: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/routes/{name}", { params: { path: { project, name } } }));
}

export const CACHE_SORTS = ["app", "-app", "ttl", "-ttl"] as const;
export type CacheSort = (typeof CACHE_SORTS)[number];

export const cachesQuery = (project: string, q = "", sort: CacheSort = "app") =>
  queryOptions({
    queryKey: ["caches", project, q, sort],
    queryFn: ({ signal }) => everything((cursor) => answer(control.GET("/api/v1/projects/{project}/caches", { params: { path: { project }, query: { limit: MOST, sort, ...(q === "" ? {} : { q }), ...cursor } }, signal }))),
  });

export const cacheUseQuery = (project: string, window: Window) =>
  queryOptions({
    queryKey: ["cache-use", project, window],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/cache-use", { params: { path: { project }, query: { window } }, signal })),
    refetchInterval: window === "15m" ? LIVE_MS : 15_000,
  });

export const cacheServerQuery = (project: string) =>
  queryOptions({
    queryKey: ["cache-server", project],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/cache-server", { params: { path: { project } }, signal })),
    refetchInterval: LIVE_MS,
  });

export function putCache(project: string, app: string, body: CacheBody): Promise<CachePolicy> {
  return answer(control.PUT("/api/v1/projects/{project}/caches/{app}", { params: { path: { project, app } }, body }));
}

export function deleteCache(project: string, app: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/caches/{app}", { params: { path: { project, app } } }));
}

export function clearCache(project: string, app: string): Promise<Schemas["ClearedView"]> {
  return answer(control.POST("/api/v1/projects/{project}/caches/{app}/clear", { params: { path: { project, app } } }));
}
