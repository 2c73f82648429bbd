import type { Provider, ProviderHealth, TargetHealth, UpstreamTraffic } from "@/api/gateway";
import type { Tone } from "@/kit/Chips";

export interface Verdict {
  tone: Tone;
  word: string;
  why: string;
}

/** From this share of failed calls a provider is called unwell. */
const ILL = 0.5;
const WEAK = 0.05;

/** How a provider does, in a word: what breakers and keys say first, then what its calls say. */
export function verdict(name: string, traffic: UpstreamTraffic | undefined, targets: readonly TargetHealth[], keys?: ProviderHealth): Verdict {
  const mine = targets.filter((target) => target.model.startsWith(`${name}/`));
  const open = mine.filter((target) => target.open > 0);
  if (open.length > 0) return { tone: "bad", word: "breaker open", why: `Left alone by routes: ${open.map((target) => target.model).join(", ")}` };
  if (keys !== undefined && keys.keys_retired > 0 && keys.keys_ready === 0) return { tone: "bad", word: "no key works", why: "The provider refused every key" };
  if (traffic !== undefined && traffic.error_rate !== null && traffic.error_rate >= ILL) return { tone: "bad", word: "failing", why: "At least half of its calls fail" };
  if (mine.some((target) => target.half_open > 0)) return { tone: "warn", word: "trying again", why: "One call at a time tries whether it is well" };
  if (keys !== undefined && keys.keys_retired > 0) return { tone: "warn", word: "key retired", why: "The provider refused one of its keys" };
  if (mine.some((target) => target.cooling > 0) || (keys !== undefined && keys.keys_cooling > 0)) return { tone: "warn", word: "pausing", why: "It asked for a pause" };
  if (traffic !== undefined && traffic.error_rate !== null && traffic.error_rate >= WEAK) return { tone: "warn", word: "some errors", why: "At least one call in twenty fails" };
  if (traffic === undefined || traffic.calls === 0) return { tone: "neutral", word: "not called", why: "No call in this window" };
  return { tone: "good", word: "well", why: "Its calls are answered" };
}

/** Whether gateways tell of a provider's keys and queue: of one key without a limit there is nothing to tell. */
export function tellsHealth(provider: Provider): boolean {
  return provider.secrets.length > 0 || provider.max_concurrency > 0;
}
