import { Button, Checkbox, SegmentedControl, Select } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconChartLine } from "@tabler/icons-react";
import { experimentsQuery, MOST_RUNS, RUN_STATES, runsQuery, type Run } from "@/api/models";
import { Chip, type Tone } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { duration, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./models.module.css";
import { listOf, toggled, type RunsSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/runs");

/** Runs of training and measuring; some of them can be chosen to be set side by side. */
export function RunsPage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery({ ...runsQuery(project, search), placeholderData: keepPreviousData, refetchInterval: 15_000 });
  const experiments = useQuery(experimentsQuery(project));
  const runs = query.data?.pages.flatMap((page) => page.items) ?? [];
  const chosen = listOf(search.runs, MOST_RUNS);
  const set = (next: RunsSearch): void => void navigate({ search: (old) => withSearch<RunsSearch>(old, next), replace: true });
  const filtered = search.experiment !== undefined || search.state !== undefined;
  return (
    <Page
      title="Runs"
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/models" params={{ project }} className="link">
              Models
            </Link>,
          ]}
        >
          Runs
        </Crumbs>
      }
      side={
        <>
          <Select aria-label="Experiment" placeholder="All experiments" data={(experiments.data ?? []).map((e) => ({ value: e.name, label: `${e.name} (${e.runs})` }))} value={search.experiment ?? null} onChange={(value) => set({ experiment: value ?? undefined })} clearable searchable w={190} />
          <SegmentedControl aria-label="State" value={search.state ?? "all"} data={["all", ...RUN_STATES]} onChange={(value) => set({ state: RUN_STATES.find((s) => s === value) })} />
          <Button leftSection={<IconChartLine size={14} />} disabled={chosen.length < 2} onClick={() => void navigate({ to: "/p/$project/runs/compare", params: { project }, search: { runs: chosen.join(",") } })}>
            Compare {chosen.length > 0 ? chosen.length : ""}
          </Button>
        </>
      }
    >
      <Panel flush label="Runs">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : runs.length === 0 ? (
          filtered ? (
            <EmptyState title="No run fits these filters">
              <button type="button" className="link" style={{ border: 0, background: "none", font: "inherit", cursor: "pointer" }} onClick={() => set({ experiment: undefined, state: undefined })}>
                Show all runs
              </button>
            </EmptyState>
          ) : (
            <EmptyState icon={<IconChartLine size={28} stroke={1.4} color="var(--t-accent)" />} title="No runs in this project" more={<Command text={'curl "$TETRAD_CONTROL_URL/api/v1/projects/default/runs" -H "authorization: Bearer $TETRAD_API_KEY" \\\n  -H "content-type: application/json" -d \'{"kind": "train", "experiment": "first", "params": {"lr": 0.001}}\''} />}>
              A training or a measurement that says what it does becomes a run: its parameters, its metrics over steps, what came out of it.
            </EmptyState>
          )
        ) : (
          <>
            <Scroll label="Runs">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <th scope="col">
                      <span className="unseen">Choose</span>
                    </th>
                    <th scope="col">Run</th>
                    <th scope="col">State</th>
                    <th scope="col">Experiment</th>
                    <th scope="col">Kind</th>
                    <th scope="col">Metrics at the end</th>
                    <th scope="col" className={kit.right}>
                      Took
                    </th>
                    <th scope="col">Started</th>
                    <th scope="col">By</th>
                  </tr>
                </thead>
                <tbody>
                  {runs.map((run) => (
                    <tr key={run.id}>
                      <td>
                        <span className={css.pick}>
                          <Checkbox size="xs" aria-label={`Choose ${run.name || run.id}`} checked={chosen.includes(run.id)} disabled={!chosen.includes(run.id) && chosen.length >= MOST_RUNS} onChange={() => set({ runs: toggled(chosen, run.id, MOST_RUNS).join(",") })} />
                        </span>
                      </td>
                      <td>
                        <Link to="/p/$project/runs/compare" params={{ project }} search={{ runs: run.id }} className="link" style={{ fontWeight: 500 }}>
                          {run.name || run.id}
                        </Link>
                      </td>
                      <td>
                        <RunState run={run} />
                      </td>
                      <td>{run.experiment}</td>
                      <td>{run.kind}</td>
                      <td className="num">{run.metrics.slice(0, 3).map((m) => `${m.metric} ${numeral(m.last)}`).join(", ") || <span className="dim">none</span>}</td>
                      <td className={kit.right}>{run.ended_at === null ? <span className="dim">goes on</span> : duration(Date.parse(run.ended_at) - Date.parse(run.started_at))}</td>
                      <td className={css.when}>
                        <Ago at={run.started_at} />
                      </td>
                      <td>{run.started_by}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older runs" />
            {chosen.length > 0 && <p className={css.none}>{plural(chosen.length, "run")} chosen, of {MOST_RUNS} at most.</p>}
          </>
        )}
      </Panel>
    </Page>
  );
}

const TONES: Record<string, Tone> = { running: "accent", done: "good", failed: "bad" };

export function RunState({ run }: { run: Pick<Run, "state" | "lost" | "error"> }) {
  if (run.lost)
    return (
      <Chip tone="warn" tip="It says that it goes on, but has given no sign of life for too long">
        lost
      </Chip>
    );
  return (
    <Chip tone={TONES[run.state] ?? "neutral"} tip={run.error}>
      {run.state}
    </Chip>
  );
}

/** A metric's value as short as it can be told apart. */
export function numeral(value: number | string | null): string {
  if (typeof value !== "number") return value ?? "–";
  return Number(value.toPrecision(5)).toString();
}
