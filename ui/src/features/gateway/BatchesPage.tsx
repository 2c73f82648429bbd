import { CloseButton, SegmentedControl } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconStack2 } from "@tabler/icons-react";
import { BATCH_SORTS, BATCH_STATES, batchesQuery, type Batch } from "@/api/batches";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { count } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import { BatchModal } from "./BatchModal";
import { BatchProgress } from "./BatchProgress";
import { stateOf, tookOf } from "./batchWords";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { useKeyNames, whoOf } from "./keyNames";
import type { BatchesSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/batches");
const SHOWN_MODELS = 2;

/** The batches of a project: who made them, how far they are, and how to cancel one. */
export function BatchesPage() {
  const { project } = route.useParams();
  const { q = "", state, model = "", key = "", sort = "-created", show } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery({ ...batchesQuery(project, { q, state, model, key, sort }), placeholderData: keepPreviousData });
  const set = (next: BatchesSearch): void => void navigate({ search: (old) => withSearch<BatchesSearch>(old, next), replace: true });
  const searched = q !== "" || state !== undefined || model !== "" || key !== "";
  const batches = query.data?.pages.flatMap((page) => page.items) ?? [];
  const names = useKeyNames(project, [key, ...batches.map((each) => each.key_id)]);
  return (
    <GatewayPage project={project} title="Batches">
      <Panel title="Batches" note="requests that nobody waits for" flush label="Batches">
        {(batches.length > 0 || searched) && (
          <div className={css.filters} role="search">
            <SegmentedControl aria-label="State" value={state ?? "all"} data={["all", ...BATCH_STATES]} onChange={(next) => set({ state: BATCH_STATES.find((each) => each === next) })} />
            <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a batch" placeholder="Id, model, key id or endpoint" />
            {model !== "" && <Filter label="Model" value={model} drop={() => set({ model: undefined })} />}
            {key !== "" && <Filter label="Key" value={whoOf(key, names)} drop={() => set({ key: undefined })} />}
          </div>
        )}
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : batches.length === 0 && searched ? (
          <EmptyState title="No batch is so">Search for another part of its id, its models or its key, or among those of all states, models and keys.</EmptyState>
        ) : batches.length === 0 ? (
          <EmptyState icon={<IconStack2 size={28} stroke={1.4} color="var(--t-accent)" />} title="No batch in this project" more={<Command what="call" text={'client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")'} />}>
            A batch is a file of requests that nobody waits for, at half the price where the provider has a batch API. Clients make one with OpenAI&apos;s or Anthropic&apos;s SDK, the gateway&apos;s address and one of your keys.
          </EmptyState>
        ) : (
          <>
            <BatchTable batches={batches} names={names} sort={sort} onSort={(next) => set({ sort: next === "-created" ? undefined : BATCH_SORTS.find((each) => each === next) })} onFilter={set} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more batches" />
          </>
        )}
      </Panel>
      {show !== undefined && <BatchModal project={project} identity={show} close={() => set({ show: undefined })} />}
    </GatewayPage>
  );
}

/** What the list is narrowed to by a click, and the way out of it. */
function Filter({ label, value, drop }: { label: string; value: string; drop: () => void }) {
  return (
    <span className={css.narrowed}>
      <span className="dim">{label}</span> {value}
      <CloseButton size="xs" aria-label={`Not only this ${label.toLowerCase()}`} onClick={drop} />
    </span>
  );
}

function BatchTable({ batches, names, sort, onSort, onFilter }: { batches: Batch[]; names: ReadonlyMap<string, string>; sort: string; onSort: (sort: string) => void; onFilter: (search: BatchesSearch) => void }) {
  const now = useNow();
  return (
    <Scroll label="Batches and how far they are">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Batch</th>
            <th scope="col">State</th>
            <th scope="col">Answered</th>
            <th scope="col">Calls</th>
            <th scope="col">Models</th>
            <th scope="col">Key</th>
            <SortHead field="created" sort={sort} onSort={onSort} first="desc">
              Made
            </SortHead>
            <th scope="col" className={kit.right}>
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {batches.map((batch) => {
            const { word, tone, tip } = stateOf(batch);
            return (
              <tr key={batch.id} data-batch={batch.id}>
                <td>
                  <button type="button" className={`${css.plain} mono`} title={batch.id} onClick={() => onFilter({ show: batch.id })}>
                    {shortId(batch.id)}
                  </button>
                </td>
                <td>
                  <Chip tone={tone} tip={tip}>
                    {word}
                  </Chip>
                </td>
                <td>
                  <BatchProgress batch={batch} />
                </td>
                <td className={css.when}>{batch.endpoint.replace(/^\/v1\//, "")}</td>
                <td className={css.named}>
                  <Models models={batch.models} onPick={(model) => onFilter({ model })} />
                </td>
                <td style={{ whiteSpace: "nowrap" }}>
                  <button type="button" className={css.plain} title={`${batch.key_id}: show only its batches`} onClick={() => onFilter({ key: batch.key_id })}>
                    {whoOf(batch.key_id, names)}
                  </button>
                </td>
                <td style={{ whiteSpace: "nowrap" }}>
                  <Ago at={isoOf(batch.created_at)} />
                </td>
                <td className={kit.right} style={{ whiteSpace: "nowrap" }}>
                  {tookOf(batch, now)}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

/** The models of a batch's requests, each a way to narrow the list to it. */
function Models({ models, onPick }: { models: readonly string[]; onPick: (model: string) => void }) {
  if (models.length === 0) return <span className="dim">–</span>;
  const rest = models.slice(SHOWN_MODELS);
  return (
    <>
      {models.slice(0, SHOWN_MODELS).map((model, i) => (
        <span key={model}>
          {i > 0 && ", "}
          <button type="button" className={css.plain} title="Show only batches of this model" onClick={() => onPick(model)}>
            {model}
          </button>
        </span>
      ))}
      {rest.length > 0 && (
        <span className="dim" title={rest.join(", ")}>
          {" "}
          and {count(rest.length)} more
        </span>
      )}
    </>
  );
}

const isoOf = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** `batch_01a2…9daf39e0`: the ends tell those of one moment apart. */
function shortId(id: string): string {
  return id.length > 24 ? `${id.slice(0, id.indexOf("_") + 5)}…${id.slice(-8)}` : id;
}
