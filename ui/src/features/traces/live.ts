import { useEffect, useRef, useState } from "react";
import { traceStreamUrl, type TraceRow } from "@/api/traces";
import type { Filters } from "./query";

/** Whether a row belongs into a list with these filters; the same rule as the server's. */
export function matches(row: TraceRow, filters: Filters): boolean {
  const { text, min, release, name, ...exact } = filters;
  for (const [field, value] of Object.entries(exact)) if (row[field as keyof typeof exact] !== value) return false;
  if (release !== undefined && !row.release.startsWith(release) && !row.release.startsWith(`sha256:${release}`)) return false;
  if (name !== undefined && !row.name.toLowerCase().includes(name.toLowerCase())) return false;
  if (min !== undefined && row.duration_ms < min) return false;
  return text === undefined || `${row.input_preview}\n${row.output_preview}`.toLowerCase().includes(text.toLowerCase());
}

/** Puts fresh rows before the listed ones, each trace once: the fresher word on a trace wins. */
export function mergeRows(fresh: readonly TraceRow[], listed: readonly TraceRow[]): TraceRow[] {
  const seen = new Set<string>();
  return [...fresh, ...listed].filter((row) => !seen.has(row.trace_id) && seen.add(row.trace_id));
}

export type LiveState = "off" | "connecting" | "live" | "lost";
const MOST = 500;

/** New traces as they end, newest first; a limit on how many are kept, for a page that stays open overnight. */
export function useLiveTraces(project: string, filters: Filters, on: boolean): { rows: TraceRow[]; state: LiveState } {
  const key = JSON.stringify([project, filters]);
  const [rows, setRows] = useState<{ key: string; list: TraceRow[] }>({ key, list: [] });
  const [state, setState] = useState<LiveState>("off");
  const latest = useRef(filters);
  useEffect(() => {
    latest.current = filters;
  });
  useEffect(() => {
    if (!on) return;
    const source = new EventSource(traceStreamUrl(project, latest.current));
    const receive = (event: MessageEvent<string>): void => {
      const row = JSON.parse(event.data) as TraceRow;
      if (!matches(row, latest.current)) return;
      setRows((old) => ({ key, list: [row, ...(old.key === key ? old.list : []).filter((r) => r.trace_id !== row.trace_id)].slice(0, MOST) }));
    };
    source.addEventListener("trace", receive);
    source.onopen = () => setState("live");
    source.onerror = () => setState("lost");
    return () => {
      source.close();
      setState("off");
    };
  }, [project, key, on]);
  return { rows: rows.key === key ? rows.list : [], state: on && state === "off" ? "connecting" : state };
}
