import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import type { Filters } from "@/features/traces/query";
import { answer, control, queryText, type Schemas } from "./http";

export type Usage = Schemas["UsageOut"];
/** One row of the list: a trace by its root span and the sums over its calls. */
export type TraceRow = Schemas["TraceItem"];
/** A span without its content, which is fetched when it is looked at. */
export type SpanRow = Schemas["SpanOut"];
export type Span = Schemas["SpanContentOut"];
export type Status = TraceRow["status"];
export type CodeMatch = TraceRow["code_match"];

export interface Trace {
  trace: TraceRow;
  spans: SpanRow[];
  truncated: boolean;
}

export const SORTS = ["start", "duration", "cost", "tokens", "first_token"] as const;
export type Sort = (typeof SORTS)[number] | `-${(typeof SORTS)[number]}`;

export interface TraceList {
  from: string;
  sort: Sort;
  filters: Filters;
}

function filterQuery({ text, min, status, ...fields }: Filters) {
  return { ...fields, ...(text === undefined ? {} : { q: text }), ...(min === undefined ? {} : { min_duration_ms: min }), ...(status === undefined ? {} : { status: status as Status }) };
}

export const tracesQuery = (project: string, key: unknown, { from, sort, filters }: TraceList, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["traces", project, key],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/traces", { params: { path: { project }, query: { ...filterQuery(filters), from, sort, limit, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** Spans of one request, and of one trace: beyond this the page says that it shows the beginning. */
const SPANS_PER_PAGE = 10_000;
const SPANS_MOST = 50_000;

export const traceQuery = (project: string, trace_id: string) =>
  queryOptions({
    queryKey: ["trace", project, trace_id],
    queryFn: async ({ signal }): Promise<Trace> => {
      const spans: SpanRow[] = [];
      let cursor: string | null = null;
      for (;;) {
        const page: Schemas["TraceOut"] = await answer(
          control.GET("/api/v1/projects/{project}/traces/{trace_id}", { params: { path: { project, trace_id }, query: { limit: SPANS_PER_PAGE, ...(cursor === null ? {} : { cursor }) } }, signal }),
        );
        spans.push(...page.spans);
        cursor = page.next_cursor;
        if (cursor === null || spans.length >= SPANS_MOST) return { trace: page.trace, spans, truncated: cursor !== null };
      }
    },
  });

export const spanQuery = (project: string, trace_id: string, span_id: string, at: string) =>
  queryOptions({
    queryKey: ["span", project, trace_id, span_id],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/traces/{trace_id}/spans/{span_id}", { params: { path: { project, trace_id, span_id }, query: { at } }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** Where new traces are told as they come; the server filters them. */
export function traceStreamUrl(project: string, filters: Filters): string {
  return `/api/v1/projects/${encodeURIComponent(project)}/traces/stream${queryText(filterQuery(filters))}`;
}
