import { queryOptions } from "@tanstack/react-query";
import { request } from "./http";

/** How well a part of the system is, whatever word it uses for it. */
export type Health = "good" | "waiting" | "bad";

export interface Process {
  name: string;
  state: string;
  pid: number | null;
  started_at: string | null;
  restarts: number;
  memory_bytes: number | null;
  detail: string;
}

export interface Engine {
  name: string;
  state: string;
  adapter: string;
  models: string[];
  detail: string;
  memory_bytes: number | null;
}

export interface Gateway {
  name: string;
  state: string;
  route_table_version: number;
  spool_bytes: number;
  lag_s: number | null;
  detail: string;
}

export interface Store {
  name: string;
  state: string;
  kind: string;
  size_bytes: number | null;
  detail: string;
}

export interface SystemStatus {
  version: string;
  home: string;
  uptime_s: number;
  processes: Process[];
  engines: Engine[];
  gateways: Gateway[];
  stores: Store[];
}

const GOOD = new Set(["running", "ready", "connected", "ok", "up", "healthy", "idle", "serving"]);
const WAITING = new Set(["starting", "loading", "pending", "stopping", "draining", "waiting", "restarting", "backoff", "unloaded", "stopped", "not loaded"]);

export function healthOf(state: string): Health {
  const word = state.toLowerCase();
  return GOOD.has(word) ? "good" : WAITING.has(word) ? "waiting" : "bad";
}

export const statusQuery = queryOptions({
  queryKey: ["status"],
  queryFn: ({ signal }) => request<SystemStatus>("GET", "/api/v1/status", { signal }),
  refetchInterval: 5_000,
});
