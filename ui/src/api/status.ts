import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type SystemStatus = Schemas["StatusView"];

/** How well a part of the system is, whatever word it uses for it. */
export type Health = "good" | "waiting" | "bad";

const GOOD = new Set(["running", "ready", "connected", "ok", "up", "healthy", "idle", "serving", "degraded"]);
const WAITING = new Set(["starting", "loading", "pulling", "calibrating", "pending", "stopping", "draining", "waiting", "restarting", "backoff", "unloaded", "stopped", "created", "declared"]);

export function healthOf(state: string): Health {
  const word = state.toLowerCase();
  return GOOD.has(word) ? "good" : WAITING.has(word) ? "waiting" : "bad";
}

/** The worst of all parts. */
export function systemHealth(status: SystemStatus): Health {
  const all: Health[] = [...status.processes, ...status.engines].map((part) => healthOf(part.state));
  if (status.stores.some((store) => !store.ok) || status.route_table.error !== "" || status.broken.length > 0) return "bad";
  if (all.includes("bad")) return "bad";
  return !status.ready || status.route_table.problems.length > 0 || all.includes("waiting") ? "waiting" : "good";
}

export const statusQuery = queryOptions({
  queryKey: ["status"],
  queryFn: ({ signal }) => answer(control.GET("/api/v1/status", { signal })),
  refetchInterval: 5_000,
});
