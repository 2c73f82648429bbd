import type { CacheUse } from "@/api/gateway";
import { money } from "@/kit/format";

type Item = CacheUse["items"][number];
export type CacheSum = Omit<Item, "app">;

/** What the cache did for all these apps together; money is added within a currency only. */
export function sumUse({ items }: Pick<CacheUse, "items">): CacheSum {
  const sum = (pick: (item: Item) => number): number => items.reduce((total, item) => total + pick(item), 0);
  const [hits, misses] = [sum((item) => item.hits), sum((item) => item.misses)];
  const saved = new Map<string, number>();
  for (const { amount, currency } of items.flatMap((item) => item.saved)) saved.set(currency, (saved.get(currency) ?? 0) + Number(amount));
  return {
    hits,
    misses,
    hit_rate: hits + misses === 0 ? null : hits / (hits + misses),
    similar_hits: sum((item) => item.similar_hits),
    refreshes: sum((item) => item.refreshes),
    unpriced_hits: sum((item) => item.unpriced_hits),
    saved_tokens: sum((item) => item.saved_tokens),
    saved_ms: sum((item) => item.saved_ms),
    saved: [...saved].map(([currency, amount]) => ({ currency, amount: amount.toFixed(12) })),
  };
}

/** The money that was saved; unknown where nothing of it is known. */
export function savedOf({ hits, unpriced_hits, saved }: CacheSum): string {
  if (saved.length > 0) return saved.map(({ amount, currency }) => money(amount, currency)).join(" + ");
  return hits > 0 && unpriced_hits === hits ? "unknown" : money("0");
}
