import { Splitter } from "@mantine/core";
import { useHotkeys, useMediaQuery } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { IconChevronRight } from "@tabler/icons-react";
import { useCallback, useMemo, useState, type ReactNode } from "react";
import { traceQuery, type SpanRow, type Trace } from "@/api/traces";
import { CodeMatchChip, Chip, ReleaseChip, StatusChip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { compact, count, duration, fullTime, nanosToMs, shortDigest } from "@/kit/format";
import { useTitle } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { costOf } from "./cost";
import { SpanDetail } from "./SpanDetail";
import { buildTree, visibleRows } from "./tree";
import { Waterfall } from "./Waterfall";
import css from "./trace.module.css";

const route = getRouteApi("/signed-in/p/$project/traces/$trace");

/** One trace: what happened when on the left, what was said on the right. */
export function TracePage() {
  const { project, trace } = route.useParams();
  const navigate = useNavigate();
  const query = useQuery(traceQuery(project, trace));
  useTitle(query.data ? `${query.data.trace.name} ${trace.slice(0, 8)}` : "Trace");
  useHotkeys([["Escape", () => void navigate({ to: "/p/$project/traces", params: { project } })]]);
  if (query.data === undefined)
    return (
      <div className={css.page}>
        <Crumbs project={project} trace={trace} />
        {query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}
      </div>
    );
  return <Loaded key={trace} project={project} data={query.data} />;
}

function Crumbs({ project, trace }: { project: string; trace: string }) {
  return (
    <nav aria-label="Breadcrumb" className={css.crumbs}>
      <Link to="/p/$project/traces" params={{ project }} className="link">
        Traces
      </Link>
      <IconChevronRight size={13} />
      <span className="mono cut" title={trace}>
        {trace}
      </span>
      <CopyButton value={trace} what="trace id" size="xs" />
    </nav>
  );
}

function Loaded({ project, data }: { project: string; data: Trace }) {
  const { trace, spans } = data;
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const stacked = useMediaQuery("(max-width: 960px)");
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const tree = useMemo(() => buildTree(spans), [spans]);
  const rows = useMemo(() => visibleRows(tree, folded), [tree, folded]);
  const chosen = search.span !== undefined && tree.spans.has(search.span) ? search.span : (tree.roots[0] ?? "");
  const span = tree.spans.get(chosen);

  const choose = useCallback((id: string) => void navigate({ search: (old) => ({ ...old, span: id }), replace: true }), [navigate]);
  const fold = useCallback((id: string, closed: boolean) => {
    setFolded((old) => {
      const next = new Set(old);
      if (closed) next.add(id);
      else next.delete(id);
      return next;
    });
  }, []);

  const left = <Waterfall rows={rows} total_ms={tree.duration_ms} chosen={chosen} folded={folded} onChoose={choose} onFold={fold} />;
  const right = span ? <SpanDetail key={span.span_id} project={project} row={span} tab={search.tab} onTab={(tab) => void navigate({ search: (old) => ({ ...old, tab }), replace: true })} /> : null;
  return (
    <div className={css.page}>
      <Crumbs project={project} trace={trace.trace_id} />
      <header className={css.head}>
        <h1 className="cut">{trace.name}</h1>
        <StatusChip status={trace.status} />
        {trace.app !== "" && (
          <Link to="/p/$project/apps/$app" params={{ project, app: trace.app }} className="link">
            {trace.app}
            {trace.ref !== "" && <span className="dim">/{trace.ref}</span>}
          </Link>
        )}
        <ReleaseChip project={project} app={trace.app} digest={trace.release} />
        <CodeMatchChip match={trace.code_match} />
      </header>
      <TraceFacts trace={data} project={project} />
      {data.truncated && (
        <p className={css.truncated} role="status">
          This trace has more spans than are shown: the first {count(spans.length)} by their start are here.
        </p>
      )}
      {stacked ? (
        <div className={css.stacked}>
          <div className={css.stackedTree}>{left}</div>
          {right}
        </div>
      ) : (
        <Splitter className={css.split} lineSize={1} withHandle={false}>
          <Splitter.Pane defaultSize="46%" min="25%" className={css.pane}>
            {left}
          </Splitter.Pane>
          <Splitter.Pane defaultSize="54%" min="25%" className={css.pane}>
            {right}
          </Splitter.Pane>
        </Splitter>
      )}
    </div>
  );
}

function TraceFacts({ trace: { trace, spans }, project }: { trace: Trace; project: string }) {
  const started = nanosToMs(trace.start_ns);
  const { usage } = trace;
  const failed = spans.filter((s: SpanRow) => s.status === "error").length;
  // The gateway writes it beside the release.
  const binding = spans.find((s: SpanRow) => s.binding !== "")?.binding ?? "";
  return (
    <dl className={css.facts}>
      <Fact name="Started">{fullTime(started)}</Fact>
      <Fact name="Latency">{duration(trace.duration_ms)}</Fact>
      <Fact name="First token">{duration(trace.first_token_ms)}</Fact>
      <Fact name="Tokens">
        {compact(usage.total)}{" "}
        <span className="dim">
          {compact(usage.input + usage.cache_read + usage.cache_write)} in, {compact(usage.output + usage.reasoning)} out
        </span>
      </Fact>
      <Fact name="Cost">
        <TraceCost trace={trace} />
      </Fact>
      <Fact name="Spans">
        {count(spans.length)}
        {failed > 0 && <span className={css.failed}> {count(failed)} failed</span>}
      </Fact>
      {trace.model !== "" && <Fact name="Model">{trace.model}</Fact>}
      {trace.release !== "" && (
        <Fact name="Release">
          <Link to="/p/$project/releases/$digest" params={{ project, digest: trace.release }} className="link mono" title={trace.release}>
            {shortDigest(trace.release, 12)}
          </Link>
          <CopyButton value={trace.release} what="release digest" size="xs" />
        </Fact>
      )}
      {binding !== "" && (
        <Fact name="Binding">
          <Link to="/p/$project/traces" params={{ project }} search={{ binding }} className="link mono" title={binding}>
            {shortDigest(binding, 12)}
          </Link>
        </Fact>
      )}
      {trace.session !== "" && (
        <Fact name="Session">
          <Link to="/p/$project/traces" params={{ project }} search={{ session: trace.session }} className="link">
            {trace.session}
          </Link>
        </Fact>
      )}
      {trace.user !== "" && (
        <Fact name="User">
          <Link to="/p/$project/traces" params={{ project }} search={{ user: trace.user }} className="link">
            {trace.user}
          </Link>
        </Fact>
      )}
    </dl>
  );
}

function TraceCost({ trace }: { trace: Trace["trace"] }) {
  const { text, tip, unknown } = costOf(trace);
  if (trace.cost === null && unknown) return <Chip tip={tip}>{text}</Chip>;
  return (
    <>
      {text}
      {unknown && <span className="dim"> {tip}</span>}
    </>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
