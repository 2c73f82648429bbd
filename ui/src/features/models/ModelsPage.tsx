import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconChartLine, IconCpu } from "@tabler/icons-react";
import { modelsQuery, type Model } from "@/api/models";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { bytes, compact } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./models.module.css";
import type { ModelsSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/models");

/** The models of a project: weights, adapters, and those that providers host. */
export function ModelsPage() {
  const { project } = route.useParams();
  const { q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery({ ...modelsQuery(project, { q, sort }), placeholderData: keepPreviousData });
  const set = (next: ModelsSearch): void => void navigate({ search: (old) => withSearch<ModelsSearch>(old, next), replace: true });
  const models = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Page
      title="Models"
      side={
        <>
          <SearchBox label="Filter by name" value={q} onChange={(text) => set({ q: text })} />
          <LinkButton to="/p/$project/runs" params={{ project }} variant="default" leftSection={<IconChartLine size={14} />}>
            Runs
          </LinkButton>
        </>
      }
    >
      <Panel flush label="Models">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : models.length === 0 && q !== "" ? (
          <EmptyState title={`No model is called “${q}”`}>Names are searched for this text, whatever its case.</EmptyState>
        ) : models.length === 0 ? (
          <EmptyState icon={<IconCpu size={28} stroke={1.4} color="var(--t-accent)" />} title="No models in this project" more={<Command text="tetrad model --help" />}>
            Register weights or a hosted model, and releases can pin it.
          </EmptyState>
        ) : (
          <>
            <Scroll label="Models and their newest versions">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <SortHead field="name" sort={sort} onSort={(next) => set({ sort: next === "-name" ? "-name" : undefined })}>
                      Name
                    </SortHead>
                    <th scope="col">Version</th>
                    <th scope="col">Kind</th>
                    <th scope="col">Licence</th>
                    <th scope="col" className={kit.right}>
                      Size
                    </th>
                    <th scope="col" className={kit.right}>
                      Parameters
                    </th>
                    <th scope="col">Quantised</th>
                    <th scope="col">Can be made again</th>
                    <th scope="col">Changed</th>
                  </tr>
                </thead>
                <tbody>
                  {models.map((model) => (
                    <tr key={model.name}>
                      <td>
                        <Link to="/p/$project/models/-/$" params={{ project, _splat: model.name }} className="link" style={{ fontWeight: 500 }}>
                          {model.name}
                        </Link>
                      </td>
                      <td className="num">{model.semver}</td>
                      <td>
                        <Kind model={model} />
                      </td>
                      <td>{model.licence || <span className="dim">unknown</span>}</td>
                      <td className={kit.right}>{bytes(model.size_bytes)}</td>
                      <td className={kit.right}>{model.parameters > 0 ? compact(model.parameters) : "–"}</td>
                      <td>{model.quantisation || "–"}</td>
                      <td>
                        <Cap model={model} />
                      </td>
                      <td className={css.when}>
                        <Ago at={model.created_at} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more models" />
          </>
        )}
      </Panel>
    </Page>
  );
}

const KINDS: Record<string, string> = { weights: "weights", adapter: "adapter", provider: "hosted" };

export function Kind({ model }: { model: Pick<Model, "kind" | "provider"> }) {
  return <Chip tip={model.kind === "provider" ? `answered by ${model.provider}` : ""}>{KINDS[model.kind] ?? model.kind}</Chip>;
}

/** How well answers of a model can be had again: the level is proven by machine, a cap is known before. */
export function Cap({ model }: { model: Pick<Model, "reproduction_cap" | "wants_canary" | "immutable"> }) {
  if (model.reproduction_cap === null)
    return (
      <Chip tone="good" tip="Its files are kept by digest: the same engine, asked alone, gives the same bytes">
        bit for bit
      </Chip>
    );
  return (
    <Chip tone={model.wants_canary ? "warn" : "neutral"} tip={model.wants_canary ? "What answers may change unseen: the provider decides" : "A provider's machine answers, so that only statistics can be had again"}>
      {model.reproduction_cap === "R2" ? "statistically" : model.reproduction_cap}
    </Chip>
  );
}
