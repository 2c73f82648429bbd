export const AUDIT_TABS = ["refs", "actions"] as const;
export type AuditTab = (typeof AUDIT_TABS)[number];
export const AUDIT_WINDOWS = { "24h": 86_400, "7d": 604_800, "30d": 2_592_000, "1y": 31_536_000 } as const;
export type AuditWindow = keyof typeof AUDIT_WINDOWS;
/** The kinds of what is done, by the beginning of their names. */
export const ACTIONS = ["artifact", "change.", "evidence.", "gate.", "key.", "limit.", "project.", "prompt.", "response.", "role.", "seal_key.", "secret", "sign_in_link.", "signing_key.", "team.", "tool"] as const;

export interface AuditSearch {
  tab?: AuditTab | undefined;
  actor?: string | undefined;
  ref?: string | undefined;
  action?: string | undefined;
  target?: string | undefined;
  window?: AuditWindow | undefined;
}

/** Reads the URL of the audit page; what makes no sense there is left out. */
export function readAuditSearch(search: Record<string, unknown>): AuditSearch {
  const read: AuditSearch = {};
  if (search.tab === "actions") read.tab = "actions";
  for (const field of ["actor", "ref", "action", "target"] as const) {
    const value = search[field];
    if (typeof value === "string" && value !== "") read[field] = value;
  }
  if (typeof search.window === "string" && Object.hasOwn(AUDIT_WINDOWS, search.window)) read.window = search.window as AuditWindow;
  return read;
}

/** Since when entries are shown, to the hour, so that the same question is asked once and not each second. */
export function sinceOf(window: AuditWindow | undefined, now: number): string | undefined {
  if (window === undefined) return undefined;
  const hour = 3_600_000;
  return new Date(Math.floor((now - AUDIT_WINDOWS[window] * 1000) / hour) * hour).toISOString();
}
