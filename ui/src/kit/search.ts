/** What the URL says, with changes; what is empty is left out of it. */
export function withSearch<T extends object>(old: T, next: T): T {
  const entries: [string, unknown][] = Object.entries({ ...old, ...next });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== "")) as T;
}
