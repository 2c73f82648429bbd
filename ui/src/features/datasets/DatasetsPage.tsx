import { Button, Loader } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconDatabase, IconUpload } from "@tabler/icons-react";
import { useState } from "react";
import { datasetsQuery, type DatasetSort } from "@/api/datasets";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { bytes, count } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./datasets.module.css";
import { ImportModal } from "./ImportModal";

const route = getRouteApi("/signed-in/p/$project/datasets");

/** The datasets of a project by their newest versions. */
export function DatasetsPage() {
  const { project } = route.useParams();
  const { q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery({ ...datasetsQuery(project, { q, sort }), placeholderData: keepPreviousData });
  const [importing, setImporting] = useState(false);
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const set = (next: { q?: string; sort?: string }): void =>
    void navigate({ search: (old) => ({ ...old, ...(next.q === undefined ? {} : { q: next.q || undefined }), ...(next.sort === undefined ? {} : { sort: next.sort === "name" ? undefined : (next.sort as DatasetSort) }) }), replace: true });
  const button = (
    <Button leftSection={<IconUpload size={14} />} onClick={() => setImporting(true)}>
      Import
    </Button>
  );
  return (
    <Page
      title="Datasets"
      side={
        <>
          {query.isFetching && <Loader size={14} />}
          <SearchBox label="Filter by name" value={q} onChange={(text) => set({ q: text })} />
          {button}
        </>
      }
    >
      <Panel flush label="Datasets">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : rows.length === 0 ? (
          q === "" ? (
            <EmptyState icon={<IconDatabase size={28} stroke={1.4} color="var(--t-accent)" />} title="No datasets in this project" more={<Command text="tetrad dataset import my-data rows.jsonl --key id" />}>
              Examples, cases to measure with, rows to learn from: import a file here or from a shell, and releases can pin it.
            </EmptyState>
          ) : (
            <EmptyState title={`No dataset is called “${q}”`}>Names are searched for this text, whatever its case.</EmptyState>
          )
        ) : (
          <>
            <Scroll label="Datasets and their newest versions">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <SortHead field="name" sort={sort} onSort={(s) => set({ sort: s })}>
                      Name
                    </SortHead>
                    <th scope="col">Version</th>
                    <th scope="col">Role</th>
                    <th scope="col" className={kit.right}>
                      Rows
                    </th>
                    <th scope="col" className={kit.right}>
                      Size
                    </th>
                    <SortHead field="created" sort={sort} onSort={(s) => set({ sort: s })} first="desc">
                      Changed
                    </SortHead>
                    <th scope="col">By</th>
                    <th scope="col">Why</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((dataset) => (
                    <tr key={dataset.name}>
                      <td>
                        <Link to="/p/$project/datasets/$dataset" params={{ project, dataset: dataset.name }} className="link" style={{ fontWeight: 500 }}>
                          {dataset.name}
                        </Link>
                      </td>
                      <td className="num">{dataset.semver}</td>
                      <td>{dataset.role === "" ? <span className="dim">–</span> : <Chip>{dataset.role}</Chip>}</td>
                      <td className={kit.right}>{count(dataset.rows)}</td>
                      <td className={kit.right}>{bytes(dataset.size)}</td>
                      <td className={css.when}>
                        <Ago at={dataset.created_at} />
                      </td>
                      <td>{dataset.created_by}</td>
                      <td className={css.why}>{dataset.reason}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more datasets" />
          </>
        )}
      </Panel>
      {importing && <ImportModal project={project} close={() => setImporting(false)} done={(name) => void navigate({ to: "/p/$project/datasets/$dataset", params: { project, dataset: name } })} />}
    </Page>
  );
}
