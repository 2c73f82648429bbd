import { MultiSelect, Switch } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import { comparisonQuery, MOST_METRICS, MOST_RUNS, type Comparison } from "@/api/models";
import { ArtifactLink } from "@/features/lineage/ArtifactLink";
import { Crumbs } from "@/kit/Crumbs";
import { shown } from "@/kit/Diff";
import { plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./models.module.css";
import { numeral, RunState } from "./RunsPage";
import { linesOf, RUN_INKS } from "./series";
import { listOf, type CompareSearch } from "./search";

const Lines = lazy(() => import("@/kit/Plot"));
const route = getRouteApi("/signed-in/p/$project/runs/compare");
const FIRST_METRICS = 4;

/** Runs side by side: their metrics over steps, and where their parameters differ. */
export function ComparePage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const ids = listOf(search.runs, MOST_RUNS);
  const asked = listOf(search.metrics, MOST_METRICS);
  // Which metrics there are is known with the runs; then the first few are plotted, or those that were chosen.
  const known = useQuery(comparisonQuery(project, ids, []));
  const metrics = asked.length > 0 ? asked : (known.data?.metrics.slice(0, FIRST_METRICS) ?? []);
  const query = useQuery({ ...comparisonQuery(project, ids, metrics), enabled: metrics.length > 0, placeholderData: keepPreviousData });
  const set = (next: CompareSearch): void => void navigate({ search: (old) => withSearch<CompareSearch>(old, next), replace: true });
  return (
    <Page
      title="Runs side by side"
      heading={
        <Crumbs
          up={[
            <Link key="m" to="/p/$project/models" params={{ project }} className="link">
              Models
            </Link>,
            <Link key="r" to="/p/$project/runs" params={{ project }} search={ids.length > 0 ? { runs: ids.join(",") } : {}} className="link">
              Runs
            </Link>,
          ]}
        >
          {ids.length === 1 ? (known.data?.runs[0]?.name ?? "One run") : plural(ids.length, "run")}
        </Crumbs>
      }
      side={known.data && known.data.metrics.length > 0 && <MultiSelect aria-label="Metrics" size="xs" data={known.data.metrics} value={metrics} maxValues={MOST_METRICS} onChange={(value) => set({ metrics: value.join(",") || undefined })} searchable w={320} maw="100%" />}
    >
      {ids.length === 0 ? (
        <Panel label="Runs">
          <EmptyState title="No run is chosen">
            Choose some in the <Link to="/p/$project/runs" params={{ project }} className="link">list of runs</Link>.
          </EmptyState>
        </Panel>
      ) : known.data === undefined ? (
        <Panel label="Runs">{known.isError ? <ErrorState error={known.error} retry={() => void known.refetch()} busy={known.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <Runs project={project} comparison={known.data} />
          {known.data.metrics.length === 0 ? (
            <Panel title="Metrics">
              <p className="dim" style={{ margin: 0 }}>
                None of these runs has logged a metric.
              </p>
            </Panel>
          ) : (
            <div className={css.plots}>
              {metrics.map((metric) => (
                <Plot key={metric} metric={metric} comparison={query.data} />
              ))}
            </div>
          )}
          <Params comparison={known.data} onlyDiffering={search.only === "differ"} toggle={(on) => set({ only: on ? "differ" : undefined })} />
        </>
      )}
    </Page>
  );
}

function Runs({ project, comparison }: { project: string; comparison: Comparison }) {
  return (
    <Panel title="Runs" flush>
      <Scroll label="Runs">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">State</th>
              <th scope="col">Started</th>
              {comparison.metrics.slice(0, 4).map((metric) => (
                <th key={metric} scope="col" className={kit.right}>
                  {metric}, last
                </th>
              ))}
              <th scope="col">Made</th>
            </tr>
          </thead>
          <tbody>
            {comparison.runs.map((run, i) => (
              <tr key={run.id}>
                <td>
                  <span className={css.legend}>
                    <span>
                      <i className={css.swatch} style={{ background: RUN_INKS[i % RUN_INKS.length] }} aria-hidden="true" />
                      <strong>{run.name || run.id}</strong>
                    </span>
                  </span>
                </td>
                <td>
                  <RunState run={run} />
                </td>
                <td className={css.when}>
                  <Ago at={run.started_at} />
                </td>
                {comparison.metrics.slice(0, 4).map((metric) => (
                  <td key={metric} className={kit.right}>
                    {numeral(run.metrics.find((m) => m.metric === metric)?.last ?? null)}
                  </td>
                ))}
                <td>
                  {run.outputs.map((edge) => (
                    <ArtifactLink key={edge.digest} project={project} digest={edge.digest} label={undefined} />
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}

function Plot({ metric, comparison }: { metric: string; comparison: Comparison | undefined }) {
  const lines = useMemo(() => (comparison ? linesOf(comparison, metric) : []), [comparison, metric]);
  const thinned = comparison?.series.some((s) => s.metric === metric && s.thinned);
  return (
    <Panel title={metric} note={`over steps${thinned ? ", thinned out; peaks stay" : ""}`}>
      {comparison === undefined ? (
        <div style={{ height: 220 }} aria-busy="true" />
      ) : lines.every((line) => line.points.length === 0) ? (
        <p className="dim" style={{ margin: 0, minHeight: 220 }}>
          No value of it is a number.
        </p>
      ) : (
        <Suspense fallback={<div style={{ height: 220 }} />}>
          <Lines axis="step" zoomed height={220} format={numeral} lines={lines} label={`${metric} over steps of ${plural(lines.length, "run")}: ${lines.map((line) => `${line.name} ends at ${numeral(line.points.at(-1)?.[1] ?? null)}`).join(", ")}`} />
        </Suspense>
      )}
    </Panel>
  );
}

function Params({ comparison, onlyDiffering, toggle }: { comparison: Comparison; onlyDiffering: boolean; toggle: (on: boolean) => void }) {
  const rows = comparison.params.filter((row) => !onlyDiffering || row.differs);
  const differing = comparison.params.filter((row) => row.differs).length;
  return (
    <Panel title="Parameters" note={comparison.runs.length > 1 ? `${differing} of ${comparison.params.length} differ` : undefined} side={comparison.runs.length > 1 && <Switch size="xs" label="Only those that differ" checked={onlyDiffering} onChange={(event) => toggle(event.currentTarget.checked)} />} flush>
      {rows.length === 0 ? (
        <p className={css.none}>{onlyDiffering ? "All parameters are the same." : "No parameter was written down."}</p>
      ) : (
        <Scroll label="Parameters">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Parameter</th>
                {comparison.runs.map((run) => (
                  <th key={run.id} scope="col">
                    {run.name || run.id}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.name} className={row.differs ? css.differs : undefined}>
                  <td className="mono">
                    {row.name}
                    {row.differs && <span className="unseen"> differs</span>}
                  </td>
                  {row.values.map((value, i) => (
                    <td key={i} className="mono">
                      {value === null ? <span className="dim">–</span> : shown(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Panel>
  );
}
