import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import type { Filters } from "@/features/traces/query";
import { inProject, queryText, request, type Page } from "./http";

/** Tokens in buckets that do not overlap. */
export interface Usage {
  input: number;
  cache_read: number;
  cache_write: number;
  output: number;
  reasoning: number;
}

export type Status = "ok" | "error" | "unset";
export type CodeMatch = "" | "match" | "mismatch" | "unannounced";

/** One row of the list: a trace by its root span and the sums over its calls. */
export interface TraceRow {
  trace_id: string;
  name: string;
  status: Status;
  start_ns: string;
  duration_ms: number;
  first_token_ms: number | null;
  app: string;
  ref: string;
  release: string;
  model: string;
  session: string;
  user: string;
  spans: number;
  errors: number;
  usage: Usage;
  cost: string | null;
  currency: string;
  code_match: CodeMatch;
  input_preview: string;
  output_preview: string;
}

/** A span without its content, which is fetched when it is looked at. */
export interface SpanRow {
  trace_id: string;
  span_id: string;
  parent_id: string;
  name: string;
  kind: string;
  status: Status;
  status_message: string;
  start_ns: string;
  end_ns: string;
  operation: string;
  provider: string;
  request_model: string;
  response_model: string;
  finish_reasons: string[];
  usage: Usage | null;
  cost: string | null;
  currency: string;
  stream: boolean;
  first_chunk_ns: string;
  attempt: number;
  http_status: number;
  error_type: string;
  app: string;
  ref: string;
  release: string;
  prompt_name: string;
  prompt_version: string;
  code_digest: string;
  code_match: CodeMatch;
  session: string;
  user: string;
  key_id: string;
  service: string;
}

export interface Span extends SpanRow {
  attributes: Record<string, string>;
  input: unknown;
  output: unknown;
}

export interface Trace {
  trace: TraceRow;
  spans: SpanRow[];
  truncated: boolean;
}

export const SORTS = ["start", "duration", "cost", "tokens", "first_token"] as const;
export type Sort = (typeof SORTS)[number] | `-${(typeof SORTS)[number]}`;

export interface TraceList {
  from: string;
  to?: string;
  sort: Sort;
  filters: Filters;
}

function listQuery({ from, to, sort, filters }: TraceList) {
  const { text, min, ...fields } = filters;
  return { from, to, sort, ...fields, q: text, min_duration_ms: min };
}

export const tracesQuery = (project: string, key: unknown, list: () => TraceList, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["traces", project, key],
    queryFn: ({ pageParam, signal }) => request<Page<TraceRow>>("GET", inProject(project, "traces"), { query: { ...listQuery(list()), limit, cursor: pageParam }, signal }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor,
  });

export const traceQuery = (project: string, trace: string) =>
  queryOptions({
    queryKey: ["trace", project, trace],
    queryFn: ({ signal }) => request<Trace>("GET", inProject(project, "traces", trace), { signal }),
  });

export const spanQuery = (project: string, trace: string, span: string) =>
  queryOptions({
    queryKey: ["span", project, trace, span],
    queryFn: ({ signal }) => request<Span>("GET", inProject(project, "traces", trace, "spans", span), { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    enabled: span !== "",
  });

/** Where new traces are told as they come. */
export function traceStreamUrl(project: string, filters: Filters): string {
  const { text, min, ...fields } = filters;
  return inProject(project, "traces", "stream") + queryText({ ...fields, q: text, min_duration_ms: min });
}
