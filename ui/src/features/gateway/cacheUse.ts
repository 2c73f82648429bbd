import type { CacheServer, CacheUse } from "@/api/gateway";
import { count, money, plural } from "@/kit/format";
import type { Tone } from "@/kit/Chips";

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
    shared_hits: sum((item) => item.shared_hits),
    refreshes: sum((item) => item.refreshes),
    unpriced_hits: sum((item) => item.unpriced_hits),
    saved_tokens: sum((item) => item.saved_tokens),
    saved_ms: sum((item) => item.saved_ms),
    saved: [...saved].map(([currency, amount]) => ({ currency, amount: amount.toFixed(12) })),
  };
}

/** What became of searches and writes there, in all projects; nothing for those who are not told it. */
export function factsOf({ found, absent, passed, stored, dropped, failed, broken }: Omit<CacheServer, "state" | "why" | "workers">): string[] {
  if (found === null || absent === null || stored === null) return [];
  return [
    `${count(found)} of ${count(found + absent)} searches found an answer`,
    `${count(stored)} kept`,
    ...(passed ? [`${plural(passed, "search", "searches")} not made`] : []),
    ...(dropped ? [`${count(dropped)} not sent`] : []),
    ...(failed ? [`${count(failed)} failed`] : []),
    ...(broken ? [`${plural(broken, "entry", "entries")} of others passed over`] : []),
  ];
}

/** The money that was saved; unknown where nothing of it is known. */
export function savedOf({ hits, unpriced_hits, saved }: CacheSum): string {
  if (saved.length > 0) return saved.map(({ amount, currency }) => money(amount, currency)).join(" + ");
  return hits > 0 && unpriced_hits === hits ? "unknown" : money("0");
}

/** How the server that gateways share answers in does, in a word and in a sentence that says what to do; `found` is null for those who are not told what it says. */
export function stateOf({ state, why, workers, found }: Pick<CacheServer, "state" | "why" | "workers" | "found">): { tone: Tone; word: string; text: string } {
  const told = found === null ? " Admins of the installation are told why." : why === "" ? "" : ` It says: ${why}.`;
  switch (state) {
    case "none":
      return { tone: "neutral", word: "not shared", text: "Each gateway keeps its own answers. Name a Valkey or Redis in TETRAD_GATEWAY_CACHE_URL, and what one paid for answers all of them." };
    case "untried":
      return { tone: "neutral", word: "not asked yet", text: "No call has looked into the cache since the gateways began." };
    case "up":
      return { tone: "good", word: "up", text: `Shared by ${plural(workers, "gateway worker")}.` };
    case "read_only":
      return { tone: "warn", word: "takes none", text: `Answers are found there, and new ones are not kept.${told} Set a maxmemory-policy that makes room, such as allkeys-lru.` };
    case "down":
      return { tone: "bad", word: "down", text: `Gateways answer from their own caches and ask it again every five seconds.${told}` };
  }
}
