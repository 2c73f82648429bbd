export const VIEWS = ["open", "mine", "review", "merged", "closed"] as const;
export type ChangesView = (typeof VIEWS)[number];

export interface ChangesSearch {
  view?: ChangesView | undefined;
  app?: string | undefined;
}

/** Reads the URL of the list; what does not belong there is left out. */
export function readChangesSearch(search: Record<string, unknown>): ChangesSearch {
  return { view: VIEWS.find((view) => view === search.view), app: typeof search.app === "string" && search.app !== "" ? search.app.slice(0, 63) : undefined };
}

export interface ChangeSearch {
  tab?: "conversation" | "history" | undefined;
}

export function readChangeSearch(search: Record<string, unknown>): ChangeSearch {
  return { tab: search.tab === "conversation" || search.tab === "history" ? search.tab : undefined };
}
