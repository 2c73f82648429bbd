import { SegmentedControl } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconActivity } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, type ReactNode } from "react";
import { overviewQuery, WINDOWS, type Overview, type Stats, type Top, type Window } from "@/api/overview";
import type { ChartSeries } from "@/kit/Chart";
import type { Ink } from "@/kit/Plot";
import { Command } from "@/kit/Copy";
import { compact, count, duration, money, percent, plural, shortDigest } from "@/kit/format";
import { Page, Panel } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { SystemStrip } from "@/features/system/SystemStrip";
import css from "./overview.module.css";

const Chart = lazy(() => import("@/kit/Chart"));
const route = getRouteApi("/signed-in/p/$project/overview");
const LONG: Record<Window, string> = { "15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days" };

/** What went through the gateways in a window of time, and what runs. */
export function OverviewPage() {
  const { project } = route.useParams();
  const { window = "24h" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useQuery({ ...overviewQuery(project, window), placeholderData: keepPreviousData });
  return (
    <Page
      title="Overview"
      side={
        <SegmentedControl
          aria-label="Window"
          value={window}
          onChange={(value) => void navigate({ search: { window: value === "24h" ? undefined : (value as Window) }, replace: true })}
          data={[...WINDOWS]}
        />
      }
    >
      <SystemStrip project={project} />
      {query.data === undefined ? (
        query.isError ? (
          <Panel label="Traffic">
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          </Panel>
        ) : (
          <Panel label="Traffic">
            <Loading rows={8} />
          </Panel>
        )
      ) : query.data.totals.requests === 0 ? (
        <NoTraffic window={window} />
      ) : (
        <Traffic overview={query.data} project={project} window={window} />
      )}
    </Page>
  );
}

const FIRST_CALL = `from openai import OpenAI

answer = OpenAI().chat.completions.create(
    model="app:assistant",
    messages=[{"role": "user", "content": "What does a release pin?"}],
)
print(answer.choices[0].message.content)`;

function NoTraffic({ window }: { window: Window }) {
  return (
    <Panel label="No requests">
      <EmptyState
        icon={<IconActivity size={28} stroke={1.4} color="var(--t-accent)" />}
        title={`No requests in the ${LONG[window]}`}
        more={
          <>
            <Command text={'eval "$(tetrad env)"'} />
            <Command text={FIRST_CALL} what="snippet" />
          </>
        }
      >
        Point any OpenAI client at the gateway and make a call. It shows up here, and as a trace, a moment later.
      </EmptyState>
    </Panel>
  );
}

function Traffic({ overview, project, window }: { overview: Overview; project: string; window: Window }) {
  const { totals, previous, series, currency } = overview;
  const note = LONG[window];
  const perBucket = `per ${duration(overview.bucket_s * 1000).replace(/ 0+ [sm]$/, "").replace(/\.0+ s$/, " s")}`;
  const times = useMemo(() => series.map((point) => Date.parse(point.at)), [series]);
  const charts = useMemo(() => {
    const line = (name: string, ink: Ink, read: (p: Stats) => number | null, kind: ChartSeries["kind"] = "line", stack?: string): ChartSeries => ({ name, ink, kind, values: series.map(read), ...(stack ? { stack } : {}) });
    return {
      requests: [line("succeeded", "accent", (p) => p.requests - p.errors, "bar", "r"), line("failed", "bad", (p) => p.errors, "bar", "r")],
      latency: [line("p50", "accent", (p) => p.latency_p50_ms), line("p95", "neutral", (p) => p.latency_p95_ms)],
      tokens: [line("input", "accentSoft", (p) => p.input_tokens, "bar", "t"), line("output", "accent", (p) => p.output_tokens, "bar", "t")],
      cost: [line("cost", "accent", (p) => (p.cost === null ? null : Number(p.cost)), "area")],
    };
  }, [series]);
  const asMoney = useMemo(() => (value: number | null) => money(value === null ? null : String(value), currency).replace(/(\.\d\d\d*?)0+$/, "$1"), [currency]);
  const share = totals.errors / totals.requests;

  return (
    <>
      <section aria-label={`Totals, ${note}`} className={css.tiles}>
        <Tile label="Requests" value={count(totals.requests)} note={`${note}, ${change(totals.requests, previous.requests)}`} points={series.map((p) => p.requests)} />
        <Tile label="Error rate" value={percent(share)} note={`${plural(totals.errors, "error")}, ${note}`} points={series.map((p) => p.errors)} tone={totals.errors > 0 ? "bad" : undefined} />
        <Tile label="Latency" value={duration(totals.latency_p50_ms)} unit="p50" note={`p95 ${duration(totals.latency_p95_ms)}, ${note}`} points={series.map((p) => p.latency_p50_ms)} />
        <Tile label="First token" value={duration(totals.first_token_p50_ms)} unit="p50" note={`p95 ${duration(totals.first_token_p95_ms)}, ${note}`} points={series.map((p) => p.first_token_p50_ms)} />
        <Tile label="Tokens" value={compact(totals.input_tokens + totals.output_tokens)} note={`${compact(totals.input_tokens)} in, ${compact(totals.output_tokens)} out, ${note}`} points={series.map((p) => p.input_tokens + p.output_tokens)} />
        <Tile
          label="Cost"
          value={money(totals.cost, currency)}
          unit={currency}
          note={totals.unpriced_calls > 0 ? `and ${plural(totals.unpriced_calls, "call")} of unknown price` : note}
          points={series.map((p) => (p.cost === null ? null : Number(p.cost)))}
        />
      </section>
      <div className={css.charts}>
        <ChartPanel title="Requests" note={perBucket} times={times} series={charts.requests} format={compact} whole label={`Requests ${perBucket}, ${note}: ${totals.requests} in all, ${totals.errors} failed`} />
        <ChartPanel title="Latency" note={`p50 and p95, ${perBucket}`} times={times} series={charts.latency} format={duration} label={`Latency, ${note}: p50 ${duration(totals.latency_p50_ms)}, p95 ${duration(totals.latency_p95_ms)}`} />
        <ChartPanel title="Tokens" note={perBucket} times={times} series={charts.tokens} format={compact} whole label={`Tokens ${perBucket}, ${note}`} />
        <ChartPanel title="Cost" note={`${currency} ${perBucket}`} times={times} series={charts.cost} format={asMoney} label={`Cost in ${currency} ${perBucket}, ${note}`} />
      </div>
      <div className={css.tops}>
        <TopList title="Models" note={note} rows={overview.top_models} render={(row) => <Link to="/p/$project/traces" params={{ project }} search={{ model: row.name, ...tracesWindow(window) }} className="link cut">{row.name}</Link>} />
        <TopList title="Releases" note={note} rows={overview.top_releases} render={(row) => (row.app ? <Link to="/p/$project/apps/$app" params={{ project, app: row.app }} search={{ release: row.name }} className="link cut" title={row.name}>{row.app} <span className="mono">{shortDigest(row.name)}</span></Link> : <Link to="/p/$project/traces" params={{ project }} search={{ release: row.name, ...tracesWindow(window) }} className="link mono" title={row.name}>{shortDigest(row.name)}</Link>)} />
        <TopList title="Apps" note={note} rows={overview.top_apps} render={(row) => <Link to="/p/$project/apps/$app" params={{ project, app: row.name }} className="link cut">{row.name}</Link>} />
      </div>
    </>
  );
}

/** How a value stands to that of the window before. */
export function change(now: number, before: number): string {
  if (before === 0) return now === 0 ? "as before" : "none before";
  const share = (now - before) / before;
  if (Math.abs(share) < 0.005) return "as before";
  return `${share > 0 ? "+" : "−"}${Math.abs(share) >= 10 ? "over 900" : Math.abs(share * 100).toFixed(0)} % on the window before`;
}

function tracesWindow(window: Window): { window?: Exclude<Window, "24h"> } {
  return window === "24h" ? {} : { window };
}

function Tile({ label, value, unit, note, points, tone }: { label: string; value: string; unit?: string; note: string; points: (number | null)[]; tone?: "bad" | undefined }) {
  return (
    <div className={css.tile}>
      <div className={css.tileLabel}>{label}</div>
      <div className={css.tileValue} data-tone={tone}>
        {value}
        {unit && <span className={css.unit}>{unit}</span>}
      </div>
      <div className={css.tileNote}>{note}</div>
      <Spark points={points} tone={tone} />
    </div>
  );
}

/** The course of a value at a glance; gaps stay gaps. */
function Spark({ points, tone }: { points: (number | null)[]; tone?: "bad" | undefined }) {
  const max = Math.max(...points.map((p) => p ?? 0), 0);
  if (max <= 0) return <div className={css.spark} />;
  const width = 100 / points.length;
  return (
    <svg className={css.spark} viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">
      {points.map((p, i) => (p === null || p === 0 ? null : <rect key={i} x={i * width} width={Math.max(width - 0.5, 0.4)} y={20 - Math.max((p / max) * 20, 0.8)} height={Math.max((p / max) * 20, 0.8)} fill={tone === "bad" ? "var(--t-bad)" : "var(--t-accent)"} opacity={0.55} />))}
    </svg>
  );
}

function ChartPanel({ title, note, times, series, format, label, whole = false }: { title: string; note: string; times: number[]; series: ChartSeries[]; format: (v: number | null) => string; label: string; whole?: boolean }) {
  const empty = series.every((s) => s.values.every((value) => value === null));
  return (
    <Panel
      title={title}
      note={note}
      side={
        series.length > 1 ? (
          <span className={css.legend}>
            {series.map((s) => (
              <span key={s.name} data-ink={s.ink}>
                {s.name}
              </span>
            ))}
          </span>
        ) : undefined
      }
    >
      {empty ? (
        <p className={css.none}>{title === "Cost" ? "No price is known for the models of these calls, so their cost is unknown." : "Nothing to show in this window."}</p>
      ) : (
        <Suspense fallback={<div style={{ height: 180 }} />}>
          <Chart times={times} series={series} format={format} label={label} whole={whole} />
        </Suspense>
      )}
    </Panel>
  );
}

function TopList({ title, note, rows, render }: { title: string; note: string; rows: Top[]; render: (row: Top) => ReactNode }) {
  const most = Math.max(...rows.map((row) => row.requests), 1);
  return (
    <Panel title={title} note={`by requests, ${note}`}>
      {rows.length === 0 ? (
        <p className="dim" style={{ margin: 0 }}>
          None in the {note}.
        </p>
      ) : (
        <table className={css.top}>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Requests</th>
              <th scope="col">Errors</th>
              <th scope="col">p50</th>
              <th scope="col">Cost</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <td>
                  <div className={css.topName}>{render(row)}</div>
                  <div className={css.topBar} style={{ width: `${(row.requests / most) * 100}%` }} />
                </td>
                <td>{compact(row.requests)}</td>
                <td data-bad={row.errors > 0}>{percent(row.requests === 0 ? null : row.errors / row.requests)}</td>
                <td>{duration(row.latency_p50_ms)}</td>
                <td>{money(row.cost)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
