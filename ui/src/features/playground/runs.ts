import { useEffect, useRef, useState } from "react";
import { runPlayground, type PlaygroundBody } from "@/api/playground";
import { asProblem, type ApiProblem } from "@/api/problem";
import type { Usage } from "@/api/stream";

/** One call and what has come of it so far. Times are milliseconds since it was made. */
export interface Run {
  state: "waiting" | "running" | "done" | "stopped";
  text: string;
  trace_id: string;
  usage: Usage | null;
  finish: string;
  unused: string[];
  first_ms: number | null;
  total_ms: number | null;
  problem: ApiProblem | null;
}

const FRESH: Run = { state: "waiting", text: "", trace_id: "", usage: null, finish: "", unused: [], first_ms: null, total_ms: null, problem: null };

export function isUnderWay(run: Run | undefined): boolean {
  return run?.state === "waiting" || run?.state === "running";
}

export interface Runs {
  runs: Readonly<Record<string, Run>>;
  busy: boolean;
  /** Makes calls at the same time; what is under way of the same name ends. */
  start: (calls: { id: string; body: PlaygroundBody }[]) => void;
  /** Ends one call, or all; what has come stays. */
  stop: (id?: string) => void;
  /** Ends all calls and forgets what came. */
  clear: () => void;
}

/** Calls that go on side by side; leaving the page ends them. */
export function useRuns(project: string): Runs {
  const [runs, setRuns] = useState<Record<string, Run>>({});
  const current = useRef(new Map<string, AbortController>());
  useEffect(() => {
    const underWay = current.current;
    return () => underWay.forEach((controller) => controller.abort());
  }, []);
  const stop = (id?: string): void => {
    for (const [name, controller] of current.current) if (id === undefined || id === name) controller.abort();
  };
  const start = (calls: { id: string; body: PlaygroundBody }[]): void => {
    for (const { id, body } of calls) {
      current.current.get(id)?.abort();
      const controller = new AbortController();
      current.current.set(id, controller);
      const change = (next: (run: Run) => Run): void => {
        // A call that another took the place of is not heard any more.
        if (current.current.get(id) === controller) setRuns((before) => ({ ...before, [id]: next(before[id] ?? FRESH) }));
      };
      change(() => FRESH);
      const began = performance.now();
      runPlayground(
        project,
        body,
        (told) => {
          const at = performance.now() - began;
          if (told.kind === "start") change((run) => ({ ...run, trace_id: told.trace_id, unused: told.unused }));
          else if (told.kind === "text") change((run) => ({ ...run, state: "running", text: run.text + told.text, first_ms: run.first_ms ?? at }));
          else if (told.kind === "usage") change((run) => ({ ...run, usage: told.usage }));
          else if (told.kind === "finish") change((run) => ({ ...run, finish: told.reason }));
          else change((run) => ({ ...run, problem: told.problem }));
        },
        controller.signal,
      )
        .then(() => change((run) => ({ ...run, state: "done", total_ms: performance.now() - began })))
        .catch((error: unknown) => {
          const stopped = controller.signal.aborted;
          change((run) => ({ ...run, state: stopped ? "stopped" : "done", total_ms: performance.now() - began, problem: stopped ? null : asProblem(error) }));
        });
    }
  };
  const clear = (): void => {
    stop();
    current.current.clear();
    setRuns({});
  };
  return { runs, busy: Object.values(runs).some(isUnderWay), start, stop, clear };
}
