import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { traceQuery } from "@/api/traces";
import { count, duration, money } from "@/kit/format";
import css from "./playground.module.css";
import type { Run } from "./runs";

/** How a call came to its end: `stop`, `at the token limit`, `failed, status 503`. */
function endOf({ state, problem, finish }: Run): string {
  if (state === "stopped") return "stopped";
  if (problem !== null) return problem.status > 0 ? `failed, status ${problem.status}` : "failed";
  return finish === "length" ? "at the token limit" : finish || "–";
}

/** What a call took and cost, and the way to its trace. */
export function Figures({ run, project }: { run: Run; project: string }) {
  // The price is known once the gateway has shipped the span; until then the place is held.
  const trace = useQuery({ ...traceQuery(project, run.trace_id), enabled: (run.state === "done" || run.state === "stopped") && run.trace_id !== "", retry: 12, retryDelay: 700, staleTime: Number.POSITIVE_INFINITY });
  const cost = trace.data ? money(trace.data.trace.cost, trace.data.trace.currency) : "…";
  const items: [string, string][] = [
    ["First token", duration(run.first_ms)],
    ["Whole answer", duration(run.total_ms)],
    ["Tokens in", run.usage ? count(run.usage.input) : "–"],
    ["Tokens out", run.usage ? count(run.usage.output) : "–"],
    ["Cost", run.trace_id !== "" && run.total_ms !== null && !trace.isError ? cost : "–"],
    ["Ended", endOf(run)],
  ];
  return (
    <footer className={css.figures}>
      <dl>
        {items.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {trace.data && (
        <Link to="/p/$project/traces/$trace" params={{ project, trace: run.trace_id }} className="link">
          Trace
        </Link>
      )}
    </footer>
  );
}
