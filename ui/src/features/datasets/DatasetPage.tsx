import { Button, Menu, Select, Tabs } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconDownload, IconGitCompare, IconUpload } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import { datasetQuery, datasetVersionsQuery, exportUrl, ROLES, rowsQuery, type Dataset, type DatasetListed } from "@/api/datasets";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { bytes, count, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { More, SearchBox } from "@/kit/Lists";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./datasets.module.css";
import { ImportModal } from "./ImportModal";
import { RowDetail } from "./RowDetail";
import { RowsTable } from "./RowsTable";
import { columnsOf, fieldsOf } from "./schema";
import { TABS, type DatasetSearch } from "./search";
import { Steps } from "./Steps";

const route = getRouteApi("/signed-in/p/$project/datasets/$dataset");

/** One dataset: the rows of a version, their shape, the versions before and after, and how they came to be. */
export function DatasetPage() {
  const { project, dataset } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const set = (next: DatasetSearch): void => void navigate({ search: (old) => withSearch<DatasetSearch>(old, next), replace: true });
  const query = useQuery({ ...datasetQuery(project, dataset, search.version), placeholderData: keepPreviousData });
  const versions = useInfiniteQuery(datasetVersionsQuery(project, dataset));
  const listed = useMemo(() => versions.data?.pages.flatMap((page) => page.items) ?? [], [versions.data]);
  const [importing, setImporting] = useState(false);
  const shown = query.data;
  const before = shown ? listed[listed.findIndex((v) => v.semver === shown.semver) + 1] : undefined;
  return (
    <Page
      title={dataset}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/datasets" params={{ project }} className="link">
              Datasets
            </Link>,
          ]}
        >
          {dataset}
        </Crumbs>
      }
      side={
        shown && (
          <>
            <Select aria-label="Version" value={shown.semver} data={optionsOf(listed, shown)} onChange={(value) => set({ version: value === listed[0]?.semver ? undefined : (value ?? undefined), row: undefined })} allowDeselect={false} searchable={listed.length > 10} w={150} />
            <Menu position="bottom-end">
              <Menu.Target>
                <Button variant="default" leftSection={<IconDownload size={14} />}>
                  Export
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item component="a" href={exportUrl(project, dataset, shown.semver, "jsonl")} download={`${dataset}-${shown.semver}.jsonl`}>
                  JSON Lines
                </Menu.Item>
                <Menu.Item component="a" href={exportUrl(project, dataset, shown.semver, "csv")} download={`${dataset}-${shown.semver}.csv`}>
                  CSV
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
            <Button leftSection={<IconUpload size={14} />} onClick={() => setImporting(true)}>
              Import version
            </Button>
          </>
        )
      }
    >
      {shown === undefined ? (
        <Panel label={dataset}>{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <Head dataset={shown} project={project} before={before} />
          <Tabs value={search.tab ?? "rows"} onChange={(value) => set({ tab: TABS.find((t) => t === value && t !== "rows"), row: undefined })} keepMounted={false}>
            <Tabs.List mb="md">
              <Tabs.Tab value="rows">Rows</Tabs.Tab>
              <Tabs.Tab value="schema">Schema</Tabs.Tab>
              <Tabs.Tab value="versions">Versions</Tabs.Tab>
              <Tabs.Tab value="lineage">Lineage</Tabs.Tab>
            </Tabs.List>
            <Tabs.Panel value="rows">
              <Rows project={project} dataset={shown} search={search} set={set} />
            </Tabs.Panel>
            <Tabs.Panel value="schema">
              <Schema dataset={shown} />
            </Tabs.Panel>
            <Tabs.Panel value="versions">
              <Versions project={project} dataset={shown} listed={listed} />
              <More has={versions.hasNextPage} busy={versions.isFetchingNextPage} load={() => void versions.fetchNextPage()} what="older versions" />
            </Tabs.Panel>
            <Tabs.Panel value="lineage">
              <Steps project={project} digest={shown.digest} />
            </Tabs.Panel>
          </Tabs>
        </>
      )}
      {importing && (
        <ImportModal
          project={project}
          name={dataset}
          role={shown?.role ?? ""}
          close={() => setImporting(false)}
          done={(_, made) => {
            const old = listed[0]?.semver;
            if (old !== undefined && made.semver !== old) void navigate({ to: "/p/$project/datasets/$dataset/diff", params: { project, dataset }, search: { from: old, to: made.semver } });
            else void navigate({ search: {}, replace: true });
          }}
        />
      )}
    </Page>
  );
}

function optionsOf(listed: DatasetListed[], shown: Dataset): { value: string; label: string }[] {
  const all = listed.map((v, i) => ({ value: v.semver, label: i === 0 ? `${v.semver} (newest)` : v.semver }));
  return all.some((v) => v.value === shown.semver) ? all : [...all, { value: shown.semver, label: shown.semver }];
}

function Head({ project, dataset, before }: { project: string; dataset: Dataset; before: DatasetListed | undefined }) {
  return (
    <Panel label="About this version">
      <div className={css.head}>
        <Facts
          items={[
            ["Version", <span key="v" className={css.versionLine}><strong className="num">{dataset.semver}</strong>{dataset.role !== "" && <Chip tip={ROLES[dataset.role] ?? ""}>{dataset.role}</Chip>}</span>],
            ["Rows", `${count(dataset.rows)}, ${bytes(dataset.size)}`],
            ["Made", <span key="m"><Ago at={dataset.created_at} /> by {dataset.created_by}</span>],
            ["Why", dataset.reason],
            ["Expected", dataset.expected_outcome],
          ]}
        />
        <Facts
          items={(
            [
              ["Digest", dataset.digest, "which rows"],
              ["Order", dataset.order, "in which order"],
              ["Schema", dataset.schema_digest, "of what shape"],
            ] as const
          ).map(([name, digest, what]) => [
            name,
            <span key={name} className={css.digestLine}>
              <span className="mono" title={digest}>
                {shortDigest(digest, 16)}
              </span>
              <CopyButton value={digest} what={`${name.toLowerCase()} digest`} size="xs" />
              <span className="dim">{what}</span>
            </span>,
          ])}
        />
        {before && (
          <LinkButton to="/p/$project/datasets/$dataset/diff" params={{ project, dataset: dataset.name }} search={{ from: before.semver, to: dataset.semver }} variant="default" leftSection={<IconGitCompare size={14} />} className={css.compare ?? ""}>
            Compare with {before.semver}
          </LinkButton>
        )}
      </div>
    </Panel>
  );
}

function Rows({ project, dataset, search, set }: { project: string; dataset: Dataset; search: DatasetSearch; set: (next: DatasetSearch) => void }) {
  const q = search.q ?? "";
  const query = useInfiniteQuery({ ...rowsQuery(project, dataset.name, dataset.semver, q), placeholderData: keepPreviousData });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const columns = useMemo(() => columnsOf(dataset.json_schema), [dataset.json_schema]);
  const sides = useMemo(() => [...new Set(rows.flatMap((row) => Object.keys(row.columns)))].sort(), [rows]);
  const { fetchNextPage, hasNextPage, isFetchingNextPage } = query;
  const more = (): void => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  };
  return (
    <Panel
      title="Rows"
      note={q === "" ? plural(dataset.rows, "row") : `${plural(rows.length, "row")} found${hasNextPage ? " so far" : ""} of ${count(dataset.rows)}`}
      side={<SearchBox label="Search rows" placeholder="Text in a row or its key" value={q} onChange={(text) => set({ q: text === "" ? undefined : text })} />}
      flush
    >
      <div className={css.rowsBody}>
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading rows={12} height={14} />
          )
        ) : rows.length === 0 && !hasNextPage ? (
          q === "" ? (
            <EmptyState title="This version has no rows" />
          ) : (
            <EmptyState title={`No row holds “${q}”`}>Keys and contents are searched for this text, whatever its case.</EmptyState>
          )
        ) : (
          <RowsTable project={project} dataset={dataset.name} rows={rows} columns={columns} sides={sides} search={search} total={q === "" ? dataset.rows : null} onEnd={more} ending={isFetchingNextPage ? "loading" : hasNextPage ? "more" : "end"} />
        )}
      </div>
      {search.row !== undefined && <RowDetail project={project} dataset={dataset.name} version={dataset.semver} rowKey={search.row} loaded={rows.find((row) => row.key === search.row)} close={() => set({ row: undefined })} />}
    </Panel>
  );
}

function Schema({ dataset }: { dataset: Dataset }) {
  const fields = fieldsOf(dataset.json_schema);
  return (
    <Panel title="Fields" note={dataset.declared_schema === "" ? "as the rows have them" : "as the rows have them; a schema is declared too, which each import must fulfil"} flush>
      {fields.length === 0 ? (
        <EmptyState title="The rows have no fields in common" />
      ) : (
        <Scroll label="Fields">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">Type</th>
                <th scope="col">In every row</th>
                <th scope="col">More</th>
              </tr>
            </thead>
            <tbody>
              {fields.map((field) => (
                <tr key={field.path}>
                  <td className="mono" style={{ paddingLeft: 14 + field.depth * 18 }}>
                    {field.path}
                  </td>
                  <td>{field.type}</td>
                  <td>{field.required ? "yes" : <span className="dim">no</span>}</td>
                  <td className="dim">{field.note}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Panel>
  );
}

function Versions({ project, dataset, listed }: { project: string; dataset: Dataset; listed: DatasetListed[] }) {
  return (
    <Panel title="Versions" note="newest first" flush>
      <Scroll label="Versions">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col" className={kit.right}>
                Rows
              </th>
              <th scope="col">Digest</th>
              <th scope="col">Made</th>
              <th scope="col">By</th>
              <th scope="col">Why</th>
              <th scope="col">
                <span className="unseen">Compare</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {listed.map((version, i) => {
              const older = listed[i + 1];
              return (
                <tr key={version.semver}>
                  <td>
                    <Link to="/p/$project/datasets/$dataset" params={{ project, dataset: dataset.name }} search={i === 0 ? {} : { version: version.semver }} className="link num">
                      {version.semver}
                    </Link>
                    {version.semver === dataset.semver && <span className="dim"> shown</span>}
                  </td>
                  <td className={kit.right}>{count(version.rows)}</td>
                  <td className="mono">{shortDigest(version.digest, 12)}</td>
                  <td className={css.when}>
                    <Ago at={version.created_at} />
                  </td>
                  <td>{version.created_by}</td>
                  <td className={css.why}>{version.reason}</td>
                  <td className={css.when}>
                    {older && (
                      <Link to="/p/$project/datasets/$dataset/diff" params={{ project, dataset: dataset.name }} search={{ from: older.semver, to: version.semver }} className="link">
                        Changes
                      </Link>
                    )}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}
