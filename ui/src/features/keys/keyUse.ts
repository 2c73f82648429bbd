import { MOST_USED, type Usage } from "@/api/limits";
import { count, money, plural, UNKNOWN } from "@/kit/format";

/** How many calls were made with a key; none only where the server would have told of them. */
export function callsOf(usage: readonly Usage[] | undefined, id: string): string {
  const used = usage?.find((each) => each.name === id);
  if (used !== undefined) return count(used.calls);
  return usage === undefined || usage.length >= MOST_USED ? UNKNOWN : "0";
}

/** What they cost, a line for each currency, and how many calls are in none of them because nobody knows their price. */
export function costLines(used: Usage | undefined): { text: string; unknown: boolean }[] {
  if (used === undefined) return [{ text: UNKNOWN, unknown: true }];
  const known = used.costs.filter((cost) => Number(cost.amount) !== 0).map((cost) => ({ text: money(cost.amount, cost.currency), unknown: false }));
  // What failed and has no cost lacks no price that somebody would have to set; what broke off may have one.
  const unpriced = used.answers_without_cost;
  const lost = unpriced === 0 ? [] : [{ text: `${known.length === 0 ? "" : "+ "}${plural(unpriced, "call")} of unknown cost`, unknown: true }];
  return known.length + lost.length === 0 ? [{ text: money("0", used.costs[0]?.currency), unknown: false }] : [...known, ...lost];
}
