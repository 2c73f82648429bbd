import { WINDOWS, type Window } from "@/api/overview";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

export interface ProvidersSearch {
  /** The form for a new one is open. */
  add?: "1" | undefined;
}

export function readProvidersSearch(search: Record<string, unknown>): ProvidersSearch {
  return search.add === "1" ? { add: "1" } : {};
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
}

export function readBudgetsSearch(search: Record<string, unknown>): BudgetsSearch {
  return search.add === "budget" || search.add === "limit" ? { add: search.add } : {};
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

export interface RoutesSearch {
  add?: "1" | undefined;
  edit?: string | undefined;
}

export function readRoutesSearch(search: Record<string, unknown>): RoutesSearch {
  const edit = text(search.edit);
  return edit !== undefined ? { edit } : search.add === "1" ? { add: "1" } : {};
}

export interface CacheSearch {
  window?: Window | undefined;
}

export function readCacheSearch(search: Record<string, unknown>): CacheSearch {
  const window = WINDOWS.find((w) => w === search.window);
  return window === undefined || window === "24h" ? {} : { window };
}
