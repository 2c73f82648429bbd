import type { TraceRow } from "@/api/traces";
import { money, plural } from "@/kit/format";

export interface CostSaid {
  text: string;
  /** What the text leaves unsaid. */
  tip: string;
  /** Whether a part of it is not known: then a price should be set. */
  unknown: boolean;
}

/** What a trace cost. Calls that failed and used nothing have no price to be unknown: a trace of only such cost nothing. */
export function costOf(trace: Pick<TraceRow, "cost" | "currency" | "unpriced_calls">): CostSaid {
  const unpriced = trace.unpriced_calls;
  if (trace.cost === null) {
    return unpriced === 0 ? { text: "none", tip: "No call of a model used anything", unknown: false } : { text: "unknown", tip: "No price is known for this model, so the cost is unknown and not zero", unknown: true };
  }
  const text = money(trace.cost, trace.currency);
  return unpriced === 0 ? { text, tip: trace.currency, unknown: false } : { text, tip: `and ${plural(unpriced, "call")} of unknown price`, unknown: true };
}
