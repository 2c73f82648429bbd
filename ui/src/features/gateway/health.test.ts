import { expect, it } from "vitest";
import type { ProviderHealth, TargetHealth, UpstreamTraffic } from "@/api/gateway";
import { verdict } from "./health";

const traffic = (change: Partial<UpstreamTraffic> = {}): UpstreamTraffic => ({
  name: "acme", calls: 10, errors: 0, cancelled: 0, calls_per_minute: 1, error_rate: 0, latency_p50_ms: 1, latency_p95_ms: 1, first_token_p50_ms: null, first_token_p95_ms: null, failures: [], series: [], ...change,
});
const target = (change: Partial<TargetHealth>): TargetHealth => ({ route: "smart", model: "acme/big", workers: 2, open: 0, half_open: 0, cooling: 0, in_flight: 0, first_token_s: null, outcomes: {}, ...change });
const keys = (change: Partial<ProviderHealth>): ProviderHealth => ({ workers: 1, keys_ready: 1, keys_cooling: 0, keys_retired: 0, limit: 0, in_flight: 0, waiting: 0, refused: 0, ...change });

it.each([
  ["well", traffic(), [], undefined],
  ["not called", undefined, [], undefined],
  ["some errors", traffic({ error_rate: 0.05 }), [], undefined],
  ["failing", traffic({ error_rate: 0.5 }), [], undefined],
  ["breaker open", traffic(), [target({ open: 1 })], undefined],
  ["well", traffic(), [target({ open: 1, model: "acme-two/big" })], undefined],
  ["trying again", traffic(), [target({ half_open: 1 })], undefined],
  ["pausing", traffic(), [target({ cooling: 1 })], undefined],
  ["key retired", traffic(), [], keys({ keys_retired: 1 })],
  ["no key works", traffic(), [], keys({ keys_retired: 2, keys_ready: 0 })],
] as const)("a provider is called %s", (word, calls, targets, health) => expect(verdict("acme", calls, targets, health).word).toBe(word));
