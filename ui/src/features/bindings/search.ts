const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** What the URL of a binding's page says: the app that has its own, and the two bindings that are compared. */
export interface BindingSearch {
  app?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

export function readBindingSearch(search: Record<string, unknown>): BindingSearch {
  const [app, from, to] = [text(search.app), text(search.from), text(search.to)];
  return { ...(app === undefined ? {} : { app }), ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
}
