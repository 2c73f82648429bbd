import { Button, Group, Modal, Select, Textarea } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowBackUp, IconArrowRight, IconCircleCheck } from "@tabler/icons-react";
import { lazy, Suspense, useState } from "react";
import { bindingCheckQuery, bindingDiffQuery, bindingHistoryQuery, bindingQuery, rollBackBinding, type Binding, type BindingMove } from "@/api/bindings";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More } from "@/kit/Lists";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { BoundNames } from "./BoundNames";
import css from "./bindings.module.css";
import type { BindingSearch } from "./search";

const JsonView = lazy(() => import("@/kit/JsonView"));
const route = getRouteApi("/signed-in/p/$project/bindings/$env");

/** One environment's binding, or one app's own: what it says, whether that resolves, how it came to be, and the way back. */
export function BindingPage() {
  const { project, env } = route.useParams();
  const { app = "" } = route.useSearch();
  const query = useQuery(bindingQuery(project, env, app, app !== ""));
  const history = useInfiniteQuery(bindingHistoryQuery(project, env, app));
  const moves = history.data?.pages.flatMap((page) => page.items) ?? [];
  const [back, setBack] = useState<BindingMove | null>(null);
  const binding = query.data;
  const before = binding && moves.find((move) => move.to === binding.digest && move.from !== null);
  return (
    <Page
      title={app === "" ? env : `${env}, ${app}`}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/bindings" params={{ project }} className="link">
              Bindings
            </Link>,
          ]}
        >
          {env}
          {app !== "" && <span className="dim"> only the app {app}</span>}
        </Crumbs>
      }
      side={
        binding && (
          <>
            <Link to="/p/$project/traces" params={{ project }} search={{ binding: binding.digest }} className="link">
              Its traces
            </Link>
            {before && (
              <Button variant="default" leftSection={<IconArrowBackUp size={14} />} onClick={() => setBack(before)}>
                Roll back…
              </Button>
            )}
          </>
        )
      }
    >
      {binding === undefined ? (
        <Panel label="Binding">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <About project={project} binding={binding} />
          {binding.document !== null && <Check project={project} env={env} app={app} />}
          <Panel title="What names mean here" flush>
            {binding.document === null ? <p className={css.none}>{binding.problem}</p> : binding.inherit ? <p className={css.none}>The app follows the binding of its environment.</p> : <BoundNames document={binding.document} label="Names that are bound" />}
          </Panel>
          <Changes project={project} moves={moves} />
          <Panel title="History" note="moves of its ref, newest first" flush>
            {history.data === undefined ? history.isError ? <ErrorState error={history.error} retry={() => void history.refetch()} busy={history.isFetching} /> : <Loading rows={3} /> : <History moves={moves} />}
            <More has={history.hasNextPage} busy={history.isFetchingNextPage} load={() => void history.fetchNextPage()} what="older moves" />
          </Panel>
          {binding.document !== null && (
            <Panel title="Document" note="what its digest names">
              <Suspense fallback={<Loading rows={4} />}>
                <JsonView value={binding.document} name={`binding-${env}${app === "" ? "" : `-${app}`}`} />
              </Suspense>
            </Panel>
          )}
        </>
      )}
      {back && binding && <RollBack project={project} binding={binding} move={back} close={() => setBack(null)} />}
    </Page>
  );
}

function About({ project, binding }: { project: string; binding: Binding }) {
  return (
    <Panel label="About this binding">
      <Facts
        items={[
          [
            "Digest",
            <span key="d" className={css.chips}>
              <span className="mono" style={{ overflowWrap: "anywhere" }}>
                {binding.digest}
              </span>
              <CopyButton value={binding.digest} what="binding digest" size="xs" />
            </span>,
          ],
          ["Version", binding.version],
          [
            "In force",
            <span key="m">
              <Ago at={binding.moved_at} /> by {binding.moved_by}
            </span>,
          ],
          ["Why", binding.reason],
          ["Gate", binding.governed ? "moves only through its gate" : "none: it moves freely"],
          [
            "Lineage",
            <Link key="l" to="/p/$project/lineage/$digest" params={{ project, digest: binding.digest }} className="link">
              what it came from
            </Link>,
          ],
        ]}
      />
    </Panel>
  );
}

/** Whether every name resolves now. */
function Check({ project, env, app }: { project: string; env: string; app: string }) {
  const query = useQuery(bindingCheckQuery(project, env, app));
  return (
    <Panel
      title="Check"
      note="whether every name resolves now"
      side={
        <Button variant="default" size="compact-xs" loading={query.isFetching} onClick={() => void query.refetch()}>
          Check again
        </Button>
      }
    >
      {query.data === undefined ? (
        query.isError ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : (
          <Loading rows={2} />
        )
      ) : query.data.problems.length === 0 ? (
        <span className={css.chips}>
          <IconCircleCheck size={15} color="var(--t-good)" aria-hidden="true" /> Every name resolves.
        </span>
      ) : (
        <ul className={css.list}>
          {query.data.problems.map((problem) => (
            <li key={`${problem.loc.join(".")} ${problem.message}`}>
              <Chip tone={problem.severity === "error" ? "bad" : "warn"}>{problem.severity}</Chip> <span className="mono">{problem.loc.join(".")}</span> {problem.message}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** What changed from one binding to another, in words. */
function Changes({ project, moves }: { project: string; moves: BindingMove[] }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const digests = new Map(moves.flatMap((move) => (move.to === null ? [] : [[move.to, `${move.version === "" ? "no version" : move.version} ${shortDigest(move.to, 12)}`]])));
  const options = [...digests].map(([value, label]) => ({ value, label }));
  const to = search.to ?? options[0]?.value ?? "";
  const from = search.from ?? options.find((option) => option.value !== to)?.value ?? "";
  const diff = useQuery(bindingDiffQuery(project, from, to));
  if (options.length < 2) return null;
  const set = (next: BindingSearch): void => void navigate({ search: (old) => withSearch<BindingSearch>(old, { from, to, ...next }), replace: true });
  return (
    <Panel
      title="What changed"
      side={
        <span className={css.chips}>
          <Select aria-label="From binding" size="xs" data={options} value={from} onChange={(value) => value && set({ from: value })} allowDeselect={false} w={200} />
          <IconArrowRight size={14} aria-label="to" />
          <Select aria-label="To binding" size="xs" data={options} value={to} onChange={(value) => value && set({ to: value })} allowDeselect={false} w={200} />
        </span>
      }
    >
      {diff.data ? <Lines texts={diff.data.changes.map((change) => change.text)} label="Changes" /> : diff.isError ? <ErrorState error={diff.error} retry={() => void diff.refetch()} busy={diff.isFetching} /> : <Loading rows={2} />}
    </Panel>
  );
}

function Lines({ texts, label }: { texts: string[]; label: string }) {
  if (texts.length === 0) return <p style={{ margin: 0 }}>Both say the same.</p>;
  return (
    <ul className={css.list} aria-label={label}>
      {texts.map((text) => (
        <li key={text}>{text}</li>
      ))}
    </ul>
  );
}

function History({ moves }: { moves: BindingMove[] }) {
  return (
    <Scroll label="Moves of the binding">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Version</th>
            <th scope="col">From and to</th>
            <th scope="col">By</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {moves.map((move) => (
            <tr key={move.sequence}>
              <td className={css.when}>
                <Ago at={move.at} />
              </td>
              <td className="num">{move.version || <span className="dim">–</span>}</td>
              <td>
                <span className={css.chips}>
                  {move.from === null ? <span className="dim">new</span> : <span className="mono">{shortDigest(move.from)}</span>}
                  <IconArrowRight size={12} aria-label="to" />
                  {move.to === null ? <span className="dim">removed</span> : <span className="mono">{shortDigest(move.to)}</span>}
                </span>
              </td>
              <td>{move.by}</td>
              <td className={css.text}>{move.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Puts the binding before the present one in force again, after saying what that changes. */
function RollBack({ project, binding, move, close }: { project: string; binding: Binding; move: BindingMove; close: () => void }) {
  const [reason, setReason] = useState("");
  const queries = useQueryClient();
  const to = move.from ?? "";
  const diff = useQuery(bindingDiffQuery(project, binding.digest, to));
  const refresh = (): void => void queries.invalidateQueries({ queryKey: ["bindings", project] });
  const back = useMutation({
    mutationFn: () => rollBackBinding(project, binding.env, binding.app, { to, expected: binding.digest, reason: reason.trim() }),
    onSuccess: () => {
      refresh();
      close();
    },
    // Somebody else may have changed it: what is shown is asked for again, and the person decides anew.
    onError: refresh,
  });
  return (
    <Modal opened onClose={close} title={`Roll back ${binding.ref}?`} size="lg">
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          back.mutate();
        }}
      >
        <p className={css.chips}>
          <span className="mono">{shortDigest(binding.digest, 12)}</span>
          <IconArrowRight size={13} aria-label="to" />
          <span className="mono">{shortDigest(to, 12)}</span>
        </p>
        <div>
          <strong>What goes back</strong>
          {diff.data ? <Lines texts={diff.data.changes.map((change) => change.text)} label="What goes back" /> : diff.isError ? <Failure error={diff.error} /> : <Loading rows={2} />}
        </div>
        <p className="dim">Gateways follow within a second. Both bindings stay; calls under way end where they began.</p>
        <Textarea data-autofocus label="Why" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={3900} />
        <Failure error={back.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" color="red" loading={back.isPending}>
            Roll back
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
