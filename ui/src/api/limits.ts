import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, everything, type Schemas } from "./http";

export type Budget = Schemas["BudgetView"];
export type BudgetBody = Schemas["BudgetBody"];
export type Limit = Schemas["LimitView"];
export type LimitBody = Schemas["LimitBody"];
export type BudgetAlert = Schemas["AlertView"];
export type Usage = Schemas["UsageView"];
export type Team = Schemas["TeamView"];

const PAGE = 100;
const MOST = 200;
/** So many keys the server tells the use of: those with most calls. */
export const MOST_USED = 1000;
const LIVE_MS = 5_000;

/** How budgets stand in their present periods, each subject on its own. */
export const BUDGET_SORTS = ["-used", "used", "account", "-account"] as const;
export type BudgetSort = (typeof BUDGET_SORTS)[number];

export const budgetsQuery = (project: string, sort: BudgetSort) =>
  infiniteQueryOptions({
    queryKey: ["budgets", project, "list", sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/budgets", { params: { path: { project }, query: { limit: PAGE, sort, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: LIVE_MS,
  });

/** One budget in its periods, the newest first, with how it was spent hour by hour. */
export const budgetQuery = (project: string, rule: string) =>
  infiniteQueryOptions({
    queryKey: ["budgets", project, "one", rule],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/budgets/{rule}", { params: { path: { project, rule }, query: { limit: PAGE, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: LIVE_MS,
  });

export const budgetAlertsQuery = (project: string) =>
  queryOptions({
    queryKey: ["budgets", project, "alerts"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/budget-alerts", { params: { path: { project } }, signal }))).items,
    refetchInterval: 15_000,
  });

export function putBudget(project: string, body: BudgetBody): Promise<Budget> {
  return answer(control.PUT("/api/v1/projects/{project}/budgets", { params: { path: { project } }, body }));
}

export function deleteBudget(project: string, rule: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/budgets/{rule}", { params: { path: { project, rule } } }));
}

export const LIMIT_SORTS = ["whom", "-whom", "amount", "-amount", "-changed", "changed"] as const;
export type LimitSort = (typeof LIMIT_SORTS)[number];

export const limitsQuery = (project: string, q: string, sort: LimitSort) =>
  infiniteQueryOptions({
    queryKey: ["limits", project, "all", q, sort],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/limits", { params: { path: { project }, query: { limit: PAGE, sort, ...(q === "" ? {} : { q }), ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** The limits that hold for some keys by themselves, those of each key among them. */
export const limitsOfKeysQuery = (project: string, ids: readonly string[]) =>
  queryOptions({
    queryKey: ["limits", project, "of", ...ids],
    queryFn: ({ signal }) => everything((cursor) => answer(control.GET("/api/v1/projects/{project}/limits", { params: { path: { project }, query: { limit: MOST, subject: "key", name: ["*", ...ids], ...cursor } }, signal }))),
  });

export function putLimit(project: string, body: LimitBody): Promise<Limit> {
  return answer(control.PUT("/api/v1/projects/{project}/limits", { params: { path: { project } }, body }));
}

export function deleteLimit(project: string, rule: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/limits/{rule}", { params: { path: { project, rule } } }));
}

/** Models that were called in the last day at a price that nobody knows. */
export const unpricedQuery = (project: string) =>
  queryOptions({
    queryKey: ["unpriced-models", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/unpriced-models", { params: { path: { project } }, signal }))).items,
    refetchInterval: 30_000,
  });

/** What each key used in the last day. */
export const keyUsageQuery = (project: string) =>
  queryOptions({
    queryKey: ["usage", project, "key"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/usage", { params: { path: { project }, query: { by: "key" } }, signal }))).items,
    refetchInterval: 30_000,
  });

export const teamsQuery = (project: string) =>
  queryOptions({
    queryKey: ["teams", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/teams", { params: { path: { project }, query: { limit: 200 } }, signal }))).items,
  });
