import { ActionIcon, SegmentedControl, Select, Tooltip } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowRight, IconArrowsExchange, IconEqual } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { CHANGES, datasetDiffQuery, datasetVersionsQuery, type RowChange } from "@/api/datasets";
import { Crumbs } from "@/kit/Crumbs";
import { ChangeTag, Counts, ValueDiff } from "@/kit/Diff";
import { plural } from "@/kit/format";
import { More } from "@/kit/Lists";
import { Page, Panel } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { gist, shortKey } from "./cell";
import css from "./datasets.module.css";
import type { DatasetDiffSearch } from "./search";

const JsonView = lazy(() => import("@/kit/JsonView"));
const route = getRouteApi("/signed-in/p/$project/datasets/$dataset/diff");

/** What changed between two versions of a dataset, row by row and field by field. */
export function DatasetDiffPage() {
  const { project, dataset } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const versions = useInfiniteQuery(datasetVersionsQuery(project, dataset));
  const listed = useMemo(() => versions.data?.pages.flatMap((page) => page.items) ?? [], [versions.data]);
  const now = search.to ?? listed[0]?.semver ?? "";
  const old = search.from ?? listed[listed.findIndex((v) => v.semver === now) + 1]?.semver ?? "";
  const query = useInfiniteQuery({ ...datasetDiffQuery(project, dataset, { old, now, change: search.change }), enabled: old !== "" && now !== "", placeholderData: keepPreviousData });
  const set = (next: DatasetDiffSearch): void => void navigate({ search: (before) => withSearch<DatasetDiffSearch>(before, { from: old, to: now, ...next }), replace: true });
  const options = listed.map((v) => v.semver);
  const first = query.data?.pages[0];
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Page
      title={`Changes of ${dataset}`}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/datasets" params={{ project }} className="link">
              Datasets
            </Link>,
            <Link key="one" to="/p/$project/datasets/$dataset" params={{ project, dataset }} className="link">
              {dataset}
            </Link>,
          ]}
        >
          Changes
        </Crumbs>
      }
      side={
        <>
          <Select aria-label="From version" data={including(options, old)} value={old || null} onChange={(value) => value && set({ from: value })} allowDeselect={false} searchable={options.length > 10} w={110} />
          <IconArrowRight size={14} aria-label="to" />
          <Select aria-label="To version" data={including(options, now)} value={now || null} onChange={(value) => value && set({ to: value })} allowDeselect={false} searchable={options.length > 10} w={110} />
          <Tooltip label="The other way round">
            <ActionIcon variant="default" aria-label="The other way round" onClick={() => set({ from: now, to: old })}>
              <IconArrowsExchange size={15} />
            </ActionIcon>
          </Tooltip>
        </>
      }
    >
      {versions.data !== undefined && old === "" ? (
        <Panel label="Changes">
          <EmptyState title="There is one version, and nothing to compare it with">
            Import the next version on the <Link to="/p/$project/datasets/$dataset" params={{ project, dataset }} className="link">page of the dataset</Link>.
          </EmptyState>
        </Panel>
      ) : first === undefined ? (
        <Panel label="Changes">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <Panel
          title="Rows that differ"
          note={<Counts added={first.added} removed={first.removed} changed={first.changed} moved={first.moved} />}
          side={<SegmentedControl aria-label="Kind of change" value={search.change ?? "all"} data={["all", ...CHANGES]} onChange={(value) => set({ change: CHANGES.find((c) => c === value) })} />}
          flush
        >
          {rows.length === 0 ? (
            <EmptyState icon={<IconEqual size={28} stroke={1.4} />} title={search.change === undefined ? "Both versions hold the same rows in the same order" : `No row was ${search.change}`} />
          ) : (
            <ul className={css.changes}>
              {rows.map((row) => (
                <Change key={`${row.key}-${row.change}`} row={row} />
              ))}
            </ul>
          )}
          <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more rows" />
        </Panel>
      )}
    </Page>
  );
}

function including(options: string[], value: string): string[] {
  return value === "" || options.includes(value) ? options : [...options, value];
}

function Change({ row }: { row: RowChange }) {
  const [open, setOpen] = useState(false);
  const there = row.new ?? row.old;
  return (
    <li className={css.change} data-change={row.change}>
      <div className={css.changeHead}>
        <ChangeTag change={row.change} />
        <span className="mono" title={row.key}>
          {shortKey(row.key)}
        </span>
        {row.change === "changed" && <span className="dim">{plural(row.fields.length, "field")}</span>}
        {there !== null && (
          <button type="button" className={css.whole} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Hide the row" : "Whole row"}
          </button>
        )}
      </div>
      {row.fields.length > 0 && (
        <dl className={css.fields}>
          {row.fields.map((field) => (
            <div key={field.path}>
              <dt className="mono">{field.path}</dt>
              <dd>
                <ValueDiff old={field.old} now={field.new} inOld={field.in_old} inNew={field.in_new} />
              </dd>
            </div>
          ))}
        </dl>
      )}
      {(row.change === "added" || row.change === "removed") && there !== null && !open && <p className={css.gist}>{gist(there)}</p>}
      {open && there !== null && (
        <Suspense fallback={<Loading rows={4} />}>
          <JsonView value={there} name={`row-${row.key}`} />
        </Suspense>
      )}
    </li>
  );
}
