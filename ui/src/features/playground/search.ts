/** So many are compared at once. */
export const MOST_TARGETS = 4;

export interface PlaygroundSearch {
  /** What answers, with commas between. */
  with?: string | undefined;
}

export function readPlaygroundSearch(search: Record<string, unknown>): PlaygroundSearch {
  const targets = typeof search.with === "string" ? targetsIn(search.with) : [];
  return targets.length === 0 ? {} : { with: targets.join(",") };
}

export function targetsIn(text: string | undefined): string[] {
  return [...new Set((text ?? "").split(",").map((each) => each.trim()).filter((each) => each !== ""))].slice(0, MOST_TARGETS);
}
