import { useEffect, useRef, useState } from "react";
import { traceStreamUrl, type TraceRow } from "@/api/traces";
import type { Filters } from "./query";

/** Puts fresh rows before the listed ones, each trace once: the fresher word on a trace wins. */
export function mergeRows(fresh: readonly TraceRow[], listed: readonly TraceRow[]): TraceRow[] {
  const seen = new Set<string>();
  return [...fresh, ...listed].filter((row) => !seen.has(row.trace_id) && seen.add(row.trace_id));
}

export type LiveState = "off" | "connecting" | "live" | "lost";
const MOST = 500;

/** New traces as they end, newest first; a limit on how many are kept, for a page that stays open overnight. */
export function useLiveTraces(project: string, filters: Filters, on: boolean, missed: () => void): { rows: TraceRow[]; state: LiveState } {
  const key = JSON.stringify([project, filters]);
  const [rows, setRows] = useState<{ key: string; list: TraceRow[] }>({ key, list: [] });
  const [state, setState] = useState<LiveState>("off");
  const latest = useRef(filters);
  const onGap = useRef(missed);
  useEffect(() => {
    latest.current = filters;
    onGap.current = missed;
  });
  useEffect(() => {
    if (!on) return;
    const source = new EventSource(traceStreamUrl(project, latest.current));
    const receive = (event: MessageEvent<string>): void => {
      const row = JSON.parse(event.data) as TraceRow;
      setRows((old) => ({ key, list: [row, ...(old.key === key ? old.list : []).filter((r) => r.trace_id !== row.trace_id)].slice(0, MOST) }));
    };
    source.addEventListener("trace", receive);
    // The server had more than it could tell: the list is asked for again.
    source.addEventListener("gap", () => onGap.current());
    source.onopen = () => setState("live");
    source.onerror = () => setState("lost");
    return () => {
      source.close();
      setState("off");
    };
  }, [project, key, on]);
  return { rows: rows.key === key ? rows.list : [], state: on && state === "off" ? "connecting" : state };
}
