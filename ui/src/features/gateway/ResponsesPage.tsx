import { Button, Modal, SegmentedControl } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconClockPlay } from "@tabler/icons-react";
import { useState } from "react";
import { cancelResponse, RESPONSE_SORTS, RESPONSE_STATES, responseQuery, responsesQuery, underWay, type BackgroundResponse } from "@/api/responses";
import { useMayAct } from "@/features/session/useAdmin";
import { Chip, type Tone } from "@/kit/Chips";
import { Command, CopyButton } from "@/kit/Copy";
import { Failure } from "@/kit/Failure";
import { duration } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { useKeyNames, whoOf } from "./keyNames";
import type { ResponsesSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/responses");
const TONES: Record<BackgroundResponse["status"], Tone> = { queued: "neutral", in_progress: "accent", completed: "good", incomplete: "warn", failed: "bad", cancelled: "neutral" };
const word = (status: string): string => status.replace("_", " ");

/** The responses in the background of a project: who asked for them, how far they are, and how to end one. */
export function ResponsesPage() {
  const { project } = route.useParams();
  const { q = "", state, sort = "-created", show } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery({ ...responsesQuery(project, { q, state, sort }), placeholderData: keepPreviousData });
  const set = (next: ResponsesSearch): void => void navigate({ search: (old) => withSearch<ResponsesSearch>(old, next), replace: true });
  const searched = q !== "" || state !== undefined;
  const responses = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <GatewayPage project={project} title="Responses">
      <Panel title="Responses in the background" note="as long as they are kept" flush label="Responses">
        {(responses.length > 0 || searched) && (
          <div className={css.filters} role="search">
            <SegmentedControl aria-label="State" value={state ?? "all"} data={["all", ...RESPONSE_STATES]} onChange={(next) => set({ state: RESPONSE_STATES.find((each) => each === next) })} />
            <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a response" placeholder="Id, app, model or key id" />
          </div>
        )}
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : responses.length === 0 && searched ? (
          <EmptyState title="No response is so">Search for another part of its id, its app, its model or its key, or among those of all states.</EmptyState>
        ) : responses.length === 0 ? (
          <EmptyState icon={<IconClockPlay size={28} stroke={1.4} color="var(--t-accent)" />} title="No response in the background" more={<Command what="call" text={'client.responses.create(model="local/smollm2-135m", input="Say hello.", background=True)'} />}>
            What takes minutes is asked for with background: true at /v1/responses. It is answered by a worker, and shown here with who asked and how far it is.
          </EmptyState>
        ) : (
          <>
            <ResponseTable project={project} responses={responses} sort={sort} onSort={(next) => set({ sort: next === "-created" ? undefined : RESPONSE_SORTS.find((each) => each === next) })} onShow={(id) => set({ show: id })} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more responses" />
          </>
        )}
      </Panel>
      {show !== undefined && <ResponseModal project={project} identity={show} close={() => set({ show: undefined })} />}
    </GatewayPage>
  );
}

function ResponseTable({ project, responses, sort, onSort, onShow }: { project: string; responses: BackgroundResponse[]; sort: string; onSort: (sort: string) => void; onShow: (id: string) => void }) {
  const now = useNow();
  const names = useKeyNames(project, responses.map((each) => each.key_id));
  return (
    <Scroll label="Responses and their state">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Response</th>
            <th scope="col">State</th>
            <th scope="col">App</th>
            <th scope="col">Model</th>
            <th scope="col">Key</th>
            <SortHead field="created" sort={sort} onSort={onSort} first="desc">
              Asked
            </SortHead>
            <th scope="col" className={kit.right}>
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {responses.map((response) => (
            <tr key={response.id} data-response={response.id}>
              <td>
                <button type="button" className={`${css.plain} mono`} onClick={() => onShow(response.id)}>
                  {response.id}
                </button>
              </td>
              <td>
                <Chip tone={TONES[response.status]}>{word(response.status)}</Chip>
              </td>
              <td>
                <AppLink project={project} app={response.app} />
              </td>
              <td className={css.text}>{response.model}</td>
              <td style={{ whiteSpace: "nowrap" }}>
                <KeyName id={response.key_id} names={names} />
              </td>
              <td style={{ whiteSpace: "nowrap" }}>
                <Ago at={response.created_at} />
              </td>
              <td className={kit.right} style={{ whiteSpace: "nowrap" }}>
                {took(response, now)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function ResponseModal({ project, identity, close }: { project: string; identity: string; close: () => void }) {
  const queries = useQueryClient();
  const now = useNow();
  const [sure, setSure] = useState(false);
  const query = useQuery(responseQuery(project, identity));
  const may = useMayAct();
  const cancel = useMutation({
    mutationFn: () => cancelResponse(project, identity),
    onSuccess: (ended) => {
      setSure(false);
      queries.setQueryData(responseQuery(project, identity).queryKey, ended);
      void queries.invalidateQueries({ queryKey: ["responses", project, "all"] });
    },
  });
  const found = query.data;
  const names = useKeyNames(project, [found?.key_id ?? ""]);
  return (
    <Modal opened onClose={close} title="Response in the background" size="lg">
      {found === undefined ? (
        query.isError ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : (
          <Loading />
        )
      ) : (
        <div style={{ display: "grid", gap: 14 }}>
          <dl className={kit.facts}>
            <dt>Id</dt>
            <dd className="mono" style={{ overflowWrap: "anywhere" }}>
              {found.id} <CopyButton value={found.id} what="id" size="xs" />
            </dd>
            <dt>State</dt>
            <dd>
              <Chip tone={TONES[found.status]}>{word(found.status)}</Chip>
            </dd>
            <dt>App</dt>
            <dd>
              <AppLink project={project} app={found.app} />
            </dd>
            <dt>Model</dt>
            <dd>{found.model}</dd>
            <dt>Key</dt>
            <dd>
              <KeyName id={found.key_id} names={names} />
            </dd>
            <dt>Asked</dt>
            <dd>
              <Ago at={found.created_at} />
            </dd>
            <dt>{underWay(found) ? "Takes" : "Took"}</dt>
            <dd>{took(found, now)}</dd>
            <dt>Streamed</dt>
            <dd>{found.streamed ? "yes" : "no"}</dd>
            {found.dropped !== "" && (
              <>
                <dt>Dropped</dt>
                <dd title="Parameters that the model's upstream was not told">{found.dropped}</dd>
              </>
            )}
            {found.error && (
              <>
                <dt>Error</dt>
                <dd style={{ overflowWrap: "anywhere" }}>
                  {found.error.message} <span className="mono dim">{found.error.code}</span>
                </dd>
              </>
            )}
          </dl>
          <Failure error={cancel.error} />
          {may && underWay(found) && (
            <div style={{ display: "flex", justifyContent: "flex-end", alignItems: "center", gap: 8, flexWrap: "wrap" }}>
              {sure && <span style={{ flex: 1, minWidth: 200 }}>Its call is given up, and may cost what it has come to. This cannot be undone.</span>}
              {sure && (
                <Button variant="default" onClick={() => setSure(false)} data-autofocus>
                  Keep it
                </Button>
              )}
              <Button color="red" variant={sure ? "filled" : "light"} loading={cancel.isPending} onClick={() => (sure ? cancel.mutate() : setSure(true))}>
                {sure ? "Cancel it now" : "Cancel response…"}
              </Button>
            </div>
          )}
        </div>
      )}
    </Modal>
  );
}

function AppLink({ project, app }: { project: string; app: string }) {
  if (app === "") return <span className="dim">none</span>;
  return (
    <Link to="/p/$project/apps/$app" params={{ project, app }} className="link">
      {app}
    </Link>
  );
}

/** The name of a key where it is known; those who may not list keys read the end of its id. */
function KeyName({ id, names }: { id: string; names: ReadonlyMap<string, string> }) {
  return <span title={id}>{whoOf(id, names)}</span>;
}

function took(response: BackgroundResponse, now: number): string {
  const end = response.ended_at === null ? now : Date.parse(response.ended_at);
  return duration(Math.max(0, end - Date.parse(response.created_at)));
}
