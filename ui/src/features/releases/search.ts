const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

export interface ReleasesSearch {
  app?: string | undefined;
}

export function readReleasesSearch(search: Record<string, unknown>): ReleasesSearch {
  const app = text(search.app);
  return app === undefined ? {} : { app };
}

export const RELEASE_TABS = ["parts", "gates", "evidence", "running"] as const;
export type ReleaseTab = (typeof RELEASE_TABS)[number];

export interface ReleaseSearch {
  tab?: ReleaseTab | undefined;
}

export function readReleaseSearch(search: Record<string, unknown>): ReleaseSearch {
  const tab = RELEASE_TABS.find((t) => t === search.tab);
  return tab === undefined || tab === "parts" ? {} : { tab };
}

export interface ReleaseDiffSearch {
  from?: string | undefined;
  to?: string | undefined;
}

export function readReleaseDiffSearch(search: Record<string, unknown>): ReleaseDiffSearch {
  const [from, to] = [text(search.from), text(search.to)];
  return { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
}

export interface DeriveSearch {
  /** A digest or `APP/REF`. */
  from?: string | undefined;
  /** The parts that become others, as JSON: `{"prompt.system": "name@1.2.0"}`. */
  set?: string | undefined;
}

export function readDeriveSearch(search: Record<string, unknown>): DeriveSearch {
  const [from, set] = [text(search.from), text(search.set)];
  return { ...(from === undefined ? {} : { from }), ...(set === undefined ? {} : { set }) };
}
