import { Alert, Button, Select, Tabs } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconArrowRight, IconDownload, IconShieldCheck } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useState } from "react";
import { auditQuery, checkAudit, checkRefLog, exportHead, refLogQuery, type AuditFilters } from "@/api/audit";
import { ArtifactDigest } from "./ArtifactDigest";
import { CopyButton } from "@/kit/Copy";
import { shown } from "@/kit/Diff";
import { Failure } from "@/kit/Failure";
import { plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./audit.module.css";
import { ACTIONS, AUDIT_WINDOWS, sinceOf, type AuditSearch, type AuditWindow } from "./search";

const route = getRouteApi("/signed-in/p/$project/audit");

/** What was done and by whom: the moves of refs and everything else, each in a chain that shows whether it is whole. */
export function AuditPage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const [opened] = useState(() => Date.now());
  const set = (next: AuditSearch): void => void navigate({ search: (old) => withSearch<AuditSearch>(old, next), replace: true });
  const tab = search.tab ?? "refs";
  const filters: AuditFilters = { actor: search.actor, ref: search.ref, action: search.action, target: search.target, since: sinceOf(search.window, opened) };
  return (
    <Page
      title="Audit"
      side={
        <>
          <SearchBox label="Actor" placeholder={tab === "refs" ? "Actor: name or id" : "Actor: id"} value={search.actor ?? ""} onChange={(actor) => set({ actor })} width={170} />
          {tab === "refs" ? (
            <SearchBox label="Ref" placeholder="Ref: app/production, app/" value={search.ref ?? ""} onChange={(ref) => set({ ref })} width={200} />
          ) : (
            <>
              <Select aria-label="Kind of action" placeholder="All actions" data={ACTIONS.map((value) => ({ value, label: value.replace(".", "") }))} value={search.action ?? null} onChange={(action) => set({ action: action ?? undefined })} clearable w={130} />
              <SearchBox label="Target" placeholder="Done to …" value={search.target ?? ""} onChange={(target) => set({ target })} width={150} />
            </>
          )}
          <Select aria-label="Time" placeholder="All of time" data={Object.keys(AUDIT_WINDOWS).map((value) => ({ value, label: `last ${value}` }))} value={search.window ?? null} onChange={(value) => set({ window: (value ?? undefined) as AuditWindow | undefined })} clearable w={120} />
        </>
      }
    >
      <Tabs value={tab} onChange={(value) => set({ tab: value === "actions" ? "actions" : undefined })} keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="refs">Moves of refs</Tabs.Tab>
          <Tabs.Tab value="actions">All that was done</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="refs">
          <RefLog project={project} filters={filters} />
        </Tabs.Panel>
        <Tabs.Panel value="actions">
          <Actions project={project} filters={filters} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function RefLog({ project, filters }: { project: string; filters: AuditFilters }) {
  const query = useInfiniteQuery({ ...refLogQuery(project, filters), placeholderData: keepPreviousData });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const check = useMutation({ mutationFn: () => checkRefLog(project) });
  const head = useMutation({ mutationFn: () => exportHead(project), onSuccess: (body) => download(JSON.stringify(body, null, 2), `ref-log-head-${project}.json`) });
  return (
    <div className={css.stack}>
      <Chain
        verify={() => check.mutate()}
        busy={check.isPending}
        found={check.data && { sound: check.data.sound, entries: check.data.entries, head: check.data.head, problem: check.data.problem, at: check.data.broken_at }}
        error={check.error ?? head.error}
        more={
          <Button variant="default" leftSection={<IconDownload size={14} />} loading={head.isPending} onClick={() => head.mutate()}>
            Signed head
          </Button>
        }
        hint="Keep a signed head elsewhere: it proves later that nothing before it was changed."
      />
      <Panel title="Moves of refs" note="newest first" flush>
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : rows.length === 0 ? (
          <EmptyState title={filtered(filters) ? "No move fits these filters" : "No ref has moved yet"}>{filtered(filters) ? "Take a filter away." : "Moves are written here by themselves."}</EmptyState>
        ) : (
          <>
            <Scroll label="Moves of refs">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <th scope="col" className={kit.right}>
                      No.
                    </th>
                    <th scope="col">When</th>
                    <th scope="col">Ref</th>
                    <th scope="col">From and to</th>
                    <th scope="col">By</th>
                    <th scope="col">Why</th>
                    <th scope="col">Hash</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((move) => (
                    <tr key={move.sequence}>
                      <td className={kit.right}>{move.sequence}</td>
                      <td className={css.when}>
                        <Ago at={move.at} />
                      </td>
                      <td>{move.ref}</td>
                      <td>
                        <span className={css.move}>
                          {move.old === null ? <span className="dim">new</span> : <ArtifactDigest project={project} refName={move.ref} digest={move.old} />}
                          <IconArrowRight size={12} aria-label="to" />
                          {move.new === null ? <span className="dim">removed</span> : <ArtifactDigest project={project} refName={move.ref} digest={move.new} />}
                        </span>
                      </td>
                      <td title={move.by_id}>{move.by}</td>
                      <td className={css.why}>
                        {move.reason}
                        {move.change_request !== "" && <span className="dim"> (change request {move.change_request})</span>}
                      </td>
                      <td className="mono dim" title={move.hash}>
                        {shortDigest(move.hash)}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older moves" />
          </>
        )}
      </Panel>
    </div>
  );
}

function Actions({ project, filters }: { project: string; filters: AuditFilters }) {
  const query = useInfiniteQuery({ ...auditQuery(project, filters), placeholderData: keepPreviousData });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const check = useMutation({ mutationFn: () => checkAudit(project) });
  return (
    <div className={css.stack}>
      <Chain verify={() => check.mutate()} busy={check.isPending} found={check.data && { sound: check.data.intact, entries: check.data.entries, head: check.data.head, problem: check.data.reason, at: check.data.broken_at }} error={check.error} hint="Note the head elsewhere: it proves later that nothing before it was changed." />
      <Panel title="All that was done" note="newest first" flush>
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : rows.length === 0 ? (
          <EmptyState title={filtered(filters) ? "Nothing fits these filters" : "Nothing was done yet"}>{filtered(filters) ? "Take a filter away." : "Keys, members, secrets and gates write here by themselves."}</EmptyState>
        ) : (
          <>
            <Scroll label="All that was done">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <th scope="col" className={kit.right}>
                      No.
                    </th>
                    <th scope="col">When</th>
                    <th scope="col">Action</th>
                    <th scope="col">Done to</th>
                    <th scope="col">By</th>
                    <th scope="col">More</th>
                    <th scope="col">Hash</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((entry) => (
                    <tr key={entry.seq}>
                      <td className={kit.right}>{entry.seq}</td>
                      <td className={css.when}>
                        <Ago at={entry.at} />
                      </td>
                      <td style={{ fontWeight: 500 }}>{entry.action}</td>
                      <td className="mono">{entry.target}</td>
                      <td className="mono">{entry.actor}</td>
                      <td className={css.why}>
                        {Object.entries(entry.detail)
                          .map(([name, value]) => `${name} ${shown(value)}`)
                          .join(", ")
                          .slice(0, 400)}
                      </td>
                      <td className="mono dim" title={entry.hash}>
                        {shortDigest(entry.hash)}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older entries" />
          </>
        )}
      </Panel>
    </div>
  );
}

function filtered({ actor, ref, action, target, since }: AuditFilters): boolean {
  return [actor, ref, action, target, since].some((each) => each !== undefined);
}

interface Found {
  sound: boolean;
  entries: number;
  head: string;
  problem: string;
  at: number | null;
}

/** Whether the whole chain is as it was written, when asked. */
function Chain({ verify, busy, found, error, more, hint }: { verify: () => void; busy: boolean; found: Found | undefined; error: unknown; more?: ReactNode; hint: string }) {
  return (
    <Panel label="The chain">
      <div className={css.chain}>
        <Button variant="default" leftSection={<IconShieldCheck size={14} />} loading={busy} onClick={verify}>
          Verify the chain
        </Button>
        {more}
        <span className="dim">{hint}</span>
      </div>
      <div aria-live="polite">
        {found && (
          <Alert mt="sm" color={found.sound ? "green" : "red"} variant="light" role="status" title={found.sound ? `The chain is sound: ${plural(found.entries, "entry", "entries")}` : `The chain is broken at entry ${found.at ?? "?"}`}>
            {found.sound ? (
              <span className={css.head}>
                head <span className="mono">{found.head}</span>
                <CopyButton value={found.head} what="head" size="xs" />
              </span>
            ) : (
              `${found.problem} Compare with a head that was kept elsewhere, and with a backup.`
            )}
          </Alert>
        )}
      </div>
      {error !== null && (
        <div style={{ marginTop: 10 }}>
          <Failure error={error} />
        </div>
      )}
    </Panel>
  );
}

function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
