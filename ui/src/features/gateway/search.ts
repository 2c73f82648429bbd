import { BATCH_SORTS, BATCH_STATES, type BatchSort, type BatchState } from "@/api/batches";
import { CACHE_SORTS, PROVIDER_SORTS, ROUTE_SORTS, type CacheSort, type ProviderSort, type RouteSort } from "@/api/gateway";
import { BUDGET_SORTS, LIMIT_SORTS, type BudgetSort, type LimitSort } from "@/api/limits";
import { WINDOWS, type Window } from "@/api/overview";
import { RESPONSE_SORTS, RESPONSE_STATES, type ResponseSort, type ResponseState } from "@/api/responses";
import { PRICE_SORTS, type PriceSort, type PricesOf } from "./prices";
import { SERVER_SORTS, type ServerSort } from "@/api/tools";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

const MOST_CHARS = 100;
const looked = (q: string | undefined): { q?: string } => (q === undefined ? {} : { q: q.slice(0, MOST_CHARS) });

/** Stands for a provider that no preset describes. */
export const OTHER = "other";

export interface ProvidersSearch {
  /** The form for a new one is open: `1` where one chooses what it is, else the name of a preset, or `other`. */
  add?: string | undefined;
  q?: string | undefined;
  sort?: ProviderSort | undefined;
}

export function readProvidersSearch(search: Record<string, unknown>): ProvidersSearch {
  const [add, q] = [text(search.add), text(search.q)];
  const sort = PROVIDER_SORTS.find((each) => each === search.sort);
  return { ...(add === undefined ? {} : { add }), ...looked(q), ...(sort === undefined || sort === "name" ? {} : { sort }) };
}

export interface ProviderSearch {
  edit?: "1" | undefined;
  window?: Window | undefined;
}

export function readProviderSearch(search: Record<string, unknown>): ProviderSearch {
  const window = WINDOWS.find((w) => w === search.window);
  return { ...(search.edit === "1" ? { edit: "1" as const } : {}), ...(window === undefined || window === "15m" ? {} : { window }) };
}

export interface BudgetsSearch {
  add?: "budget" | "limit" | undefined;
  /** Without it those come first of which most is spent. */
  sort?: BudgetSort | undefined;
  /** A part of whom a limit concerns, or of what it counts. */
  q?: string | undefined;
  /** How limits stand; without it, by whom they concern. */
  order?: LimitSort | undefined;
}

export function readBudgetsSearch(search: Record<string, unknown>): BudgetsSearch {
  const sort = BUDGET_SORTS.find((each) => each === search.sort);
  const order = LIMIT_SORTS.find((each) => each === search.order);
  return { ...(search.add === "budget" || search.add === "limit" ? { add: search.add } : {}), ...(sort === undefined || sort === "-used" ? {} : { sort }), ...looked(text(search.q)), ...(order === undefined || order === "whom" ? {} : { order }) };
}

export interface BudgetSearch {
  /** Whose account is plotted, where each subject has its own. */
  of?: string | undefined;
  period?: string | undefined;
}

export function readBudgetSearch(search: Record<string, unknown>): BudgetSearch {
  const [of, period] = [text(search.of), text(search.period)];
  return { ...(of === undefined ? {} : { of }), ...(period === undefined ? {} : { period }) };
}

export const PRICE_VIEWS: readonly PricesOf[] = ["unknown", "set", "imported"];

export interface PricesSearch {
  q?: string | undefined;
  /** Those that nobody knows, that people set, or that were imported; without it all. */
  show?: PricesOf | undefined;
  sort?: PriceSort | undefined;
  /** The model whose price is open. */
  model?: string | undefined;
  /** The model that gets a price. */
  set?: string | undefined;
  /** The form is open, and asks for which model. */
  add?: "1" | undefined;
}

export function readPricesSearch(search: Record<string, unknown>): PricesSearch {
  const show = PRICE_VIEWS.find((each) => each === search.show);
  const sort = PRICE_SORTS.find((each) => each === search.sort);
  const [model, set] = [text(search.model), text(search.set)];
  return { ...looked(text(search.q)), ...(show === undefined ? {} : { show }), ...(sort === undefined || sort === "name" ? {} : { sort }), ...(model === undefined ? {} : { model }), ...(set !== undefined ? { set } : search.add === "1" ? { add: "1" as const } : {}) };
}

export interface RoutesSearch {
  add?: "1" | undefined;
  edit?: string | undefined;
  q?: string | undefined;
  sort?: RouteSort | undefined;
}

export function readRoutesSearch(search: Record<string, unknown>): RoutesSearch {
  const [edit, q] = [text(search.edit), text(search.q)];
  const sort = ROUTE_SORTS.find((each) => each === search.sort);
  return { ...(edit !== undefined ? { edit } : search.add === "1" ? { add: "1" as const } : {}), ...looked(q), ...(sort === undefined || sort === "name" ? {} : { sort }) };
}

export interface CacheSearch {
  window?: Window | undefined;
  q?: string | undefined;
  sort?: CacheSort | undefined;
}

export function readCacheSearch(search: Record<string, unknown>): CacheSearch {
  const window = WINDOWS.find((w) => w === search.window);
  const sort = CACHE_SORTS.find((each) => each === search.sort);
  return { ...(window === undefined || window === "24h" ? {} : { window }), ...looked(text(search.q)), ...(sort === undefined || sort === "app" ? {} : { sort }) };
}

export interface ToolServersSearch {
  add?: "1" | undefined;
  q?: string | undefined;
  sort?: ServerSort | undefined;
}

export function readToolServersSearch(search: Record<string, unknown>): ToolServersSearch {
  const sort = SERVER_SORTS.find((each) => each === search.sort);
  return { ...(search.add === "1" ? { add: "1" as const } : {}), ...looked(text(search.q)), ...(sort === undefined || sort === "name" ? {} : { sort }) };
}

export interface ResponsesSearch {
  /** A part of the id, the app, the model or the key's id. */
  q?: string | undefined;
  state?: ResponseState | undefined;
  /** Without it the newest come first. */
  sort?: ResponseSort | undefined;
  /** The response that is open. */
  show?: string | undefined;
}

export function readResponsesSearch(search: Record<string, unknown>): ResponsesSearch {
  const state = RESPONSE_STATES.find((each) => each === search.state);
  const sort = RESPONSE_SORTS.find((each) => each === search.sort);
  const show = text(search.show);
  return { ...looked(text(search.q)), ...(state === undefined ? {} : { state }), ...(sort === undefined || sort === "-created" ? {} : { sort }), ...(show === undefined ? {} : { show }) };
}

export interface BatchesSearch {
  /** A part of the id, a model, the key's id or what is called. */
  q?: string | undefined;
  state?: BatchState | undefined;
  model?: string | undefined;
  /** The id of the key that made them. */
  key?: string | undefined;
  /** Without it the newest come first. */
  sort?: BatchSort | undefined;
  /** The batch that is open. */
  show?: string | undefined;
}

export function readBatchesSearch(search: Record<string, unknown>): BatchesSearch {
  const state = BATCH_STATES.find((each) => each === search.state);
  const sort = BATCH_SORTS.find((each) => each === search.sort);
  const [model, key, show] = [text(search.model), text(search.key), text(search.show)];
  return { ...looked(text(search.q)), ...(state === undefined ? {} : { state }), ...(model === undefined ? {} : { model }), ...(key === undefined ? {} : { key }), ...(sort === undefined || sort === "-created" ? {} : { sort }), ...(show === undefined ? {} : { show }) };
}

export const TOOL_VIEWS = ["all", "waiting", "approved", "gone"] as const;
export type ToolsOf = (typeof TOOL_VIEWS)[number];

export interface ToolServerSearch {
  edit?: "1" | undefined;
  /** The tool whose definition is open. */
  tool?: string | undefined;
  /** What waits for approval is open, all of it. */
  review?: "1" | undefined;
  show?: ToolsOf | undefined;
  q?: string | undefined;
}

export function readToolServerSearch(search: Record<string, unknown>): ToolServerSearch {
  const [tool, q] = [text(search.tool), text(search.q)];
  const show = TOOL_VIEWS.find((one) => one === search.show);
  return {
    ...(search.edit === "1" ? { edit: "1" as const } : {}),
    ...(tool === undefined ? {} : { tool }),
    ...(search.review === "1" ? { review: "1" as const } : {}),
    ...(show === undefined || show === "all" ? {} : { show }),
    ...(q === undefined ? {} : { q }),
  };
}
