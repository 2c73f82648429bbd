import type { StaleCause, StaleState } from "@/api/staleness";
import type { Tone } from "@/kit/Chips";

const STATES: Record<StaleState, { tone: Tone; word: string; tip: string }> = {
  FRESH: { tone: "good", word: "fresh", tip: "Everything in it is what it would be made of today, and proven" },
  UNVALIDATED: { tone: "neutral", word: "not validated", tip: "A signed test result is missing, or the newest one did not pass" },
  EXPIRED: { tone: "warn", word: "expired", tip: "What proved it is too old to count" },
  STALE: { tone: "warn", word: "stale", tip: "A newer version of something that it was made of is there" },
  BROKEN: { tone: "bad", word: "broken", tip: "Something that it was made of was revoked or erased" },
};

/** How a state is shown, in a word and a colour. */
export function stateLook(state: StaleState): { tone: Tone; word: string; tip: string } {
  return STATES[state];
}

/** What began it: the root causes, or what stands next to the artifact where nothing lies between. Each is said once. */
export function reasons(item: { causes: readonly StaleCause[]; roots: readonly StaleCause[] }, only?: StaleState): string[] {
  const of = (causes: readonly StaleCause[]): StaleCause[] => causes.filter((cause) => only === undefined || cause.state === only);
  const roots = of(item.roots);
  return [...new Set((roots.length > 0 ? roots : of(item.causes)).map((cause) => cause.said))];
}
