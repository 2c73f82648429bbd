import { describe, expect, it } from "vitest";
import { healthOf, systemHealth, type SystemStatus } from "./status";

const status = (more: Partial<SystemStatus> = {}): SystemStatus => ({
  version: "0", ready: true, processes: [{ name: "control", state: "running", pid: 1, rss_bytes: 1, restarts: 0, reason: "" }], engines: [], stores: [{ name: "database", kind: "sqlite", ok: true, detail: "" }],
  route_table: { version: "1", gateways: 1, apps: 0, models: 0, error: "", problems: [] }, broken: [], ...more,
});

it.each([["running", "good"], ["READY", "good"], ["starting", "waiting"], ["failed", "bad"], ["some new word", "bad"]])("%s is %s", (state, health) => expect(healthOf(state)).toBe(health));

describe("the system is as well as its worst part", () => {
  it.each([
    ["all runs", {}, "good"],
    ["an engine starts", { engines: [{ name: "e", state: "starting", models: [], reason: "", restarts: 0, rss_bytes: 0 }] }, "waiting"],
    ["a store is away", { stores: [{ name: "telemetry", kind: "clickhouse", ok: false, detail: "" }] }, "bad"],
    ["the route table cannot be made", { route_table: { version: "1", gateways: 1, apps: 0, models: 0, error: "x", problems: [] } }, "bad"],
    ["a revoked release is served", { broken: [{ project: "default", app: "a", ref: "production", digest: "sha256:0", causes: ["bad"] }] }, "bad"],
    ["not ready yet", { ready: false }, "waiting"],
  ] as [string, Partial<SystemStatus>, string][])("%s", (_, more, health) => expect(systemHealth(status(more))).toBe(health));
});
