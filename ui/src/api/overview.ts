import { queryOptions } from "@tanstack/react-query";
import { inProject, request } from "./http";

export const WINDOWS = ["15m", "1h", "24h", "7d"] as const;
export type Window = (typeof WINDOWS)[number];

export interface Stats {
  requests: number;
  errors: number;
  latency_p50_ms: number | null;
  latency_p95_ms: number | null;
  first_token_p50_ms: number | null;
  first_token_p95_ms: number | null;
  input_tokens: number;
  output_tokens: number;
  cost: string | null;
  unpriced_calls: number;
}

export interface Top extends Stats {
  name: string;
  app?: string;
}

export interface Overview {
  window: Window;
  from: string;
  to: string;
  bucket_s: number;
  currency: string;
  totals: Stats;
  series: (Stats & { at: string })[];
  top_models: Top[];
  top_releases: Top[];
  top_apps: Top[];
}

export const overviewQuery = (project: string, window: Window) =>
  queryOptions({
    queryKey: ["overview", project, window],
    queryFn: ({ signal }) => request<Overview>("GET", inProject(project, "overview"), { query: { window }, signal }),
    refetchInterval: window === "15m" ? 5_000 : 15_000,
  });
