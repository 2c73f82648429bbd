import { Alert, Button, Modal, Tabs, Textarea, TextInput } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowRight, IconChevronRight } from "@tabler/icons-react";
import { useState } from "react";
import { changeChecksQuery, changeDiffQuery, changeEventsQuery, changeQuery, changeThreadsQuery, editChange, type Change, type ReleaseDiff, type Thread } from "@/api/changes";
import { ApiProblem } from "@/api/problem";
import { promptQuery } from "@/api/prompts";
import { Playground } from "@/features/prompts/Playground";
import { Chip, ReleaseChip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./changes.module.css";
import { Actions, Checks, Reviews } from "./Decisions";
import { Differences } from "./Differences";
import { StateChip } from "./StateChip";
import { elsewhere } from "./threads";
import { Composer, ThreadView, type Where } from "./Threads";

const route = getRouteApi("/signed-in/p/$project/changes/$change");

/** One change request: what it changes, what people say of it, what a merge needs, and what was done. */
export function ChangePage() {
  const { project, change: text } = route.useParams();
  const number = /^\d{1,12}$/.test(text) ? Number(text) : 0;
  const query = useQuery({ ...changeQuery(project, number), enabled: number > 0 });
  const title = query.data ? `#${query.data.number} ${query.data.title}` : `#${text}`;
  const problem = number > 0 ? query.error : new ApiProblem(404, "not_found", `There is no change request ${text}.`, "Change requests are numbered from 1.");
  return (
    <Page
      title={title}
      heading={
        <h1 className={css.title}>
          <Link to="/p/$project/changes" params={{ project }} className="link">
            Change requests
          </Link>
          <IconChevronRight size={15} />
          <span className="dim num">#{text}</span>
          {query.data?.title}
        </h1>
      }
    >
      {query.data ? <Loaded project={project} change={query.data} /> : <Panel label={title}>{problem ? <ErrorState error={problem} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>}
    </Page>
  );
}

function Loaded({ project, change }: { project: string; change: Change }) {
  const { tab = "changes" } = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const checks = useQuery({ ...changeChecksQuery(project, change.number), enabled: change.state !== "merged" && change.state !== "closed" });
  const threads = useQuery(changeThreadsQuery(project, change.number));
  const diff = useQuery(changeDiffQuery(project, change.number, change.candidate));
  const where: Where = { project, number: change.number, open: change.allowed.includes("comment") };
  const changed = (next: Change): void => {
    queries.setQueryData(changeQuery(project, change.number).queryKey, next);
    for (const key of ["change-checks", "change-threads", "change-events", "change-diff"]) void queries.invalidateQueries({ queryKey: [key, project, change.number] });
    for (const key of ["changes", "app", "apps"]) void queries.invalidateQueries({ queryKey: [key, project] });
  };
  const rest = elsewhere(threads.data ?? [], diff.data?.prompt ?? []);
  return (
    <>
      <Facts project={project} change={change} />
      {change.behind && change.state !== "merged" && change.state !== "closed" && (
        <Alert color="yellow" variant="light" title={`${change.app}/${change.ref} has moved since this was proposed`}>
          Bring the change up to date, so that it is reviewed as it would be merged.
        </Alert>
      )}
      {change.merged && (
        <Alert variant="light" title={`Merged by ${change.merged.by}`}>
          <span className={css.moved}>
            <ReleaseChip project={project} app={change.app} digest={change.merged.from} />
            <IconArrowRight size={13} aria-label="to" />
            <ReleaseChip project={project} app={change.app} digest={change.merged.to} />
            <Ago at={change.merged.at} />
            <Link to="/p/$project/apps/$app" params={{ project, app: change.app }} className="link">
              Open {change.app} to see it at work, or to roll it back
            </Link>
          </span>
        </Alert>
      )}
      {change.state === "closed" && (
        <Alert color="gray" variant="light" title="Closed without a merge">
          {change.closed_reason}
        </Alert>
      )}
      <div className={css.columns}>
        <div className={css.main}>
          <Tabs value={tab} onChange={(value) => void navigate({ search: value === "conversation" || value === "history" ? { tab: value } : {}, replace: true })}>
            <Tabs.List mb="md">
              <Tabs.Tab value="changes">Changes</Tabs.Tab>
              <Tabs.Tab value="conversation">Conversation{rest.length > 0 ? ` (${rest.length})` : ""}</Tabs.Tab>
              <Tabs.Tab value="history">History</Tabs.Tab>
            </Tabs.List>
            <Tabs.Panel value="changes">
              {tab === "changes" && (
                <div className={css.main}>
                  <About project={project} change={change} changed={changed} />
                  <Failure error={threads.error} />
                  {diff.data ? (
                    <>
                      <Differences where={where} change={change} diff={diff.data} threads={threads.data ?? []} changed={changed} />
                      {change.state !== "merged" && change.state !== "closed" && <Try project={project} change={change} diff={diff.data} />}
                    </>
                  ) : (
                    <Panel label="Changes">{diff.isError ? <ErrorState error={diff.error} retry={() => void diff.refetch()} busy={diff.isFetching} /> : <Loading rows={8} />}</Panel>
                  )}
                </div>
              )}
            </Tabs.Panel>
            <Tabs.Panel value="conversation">{tab === "conversation" && <Conversation where={where} threads={rest} pending={threads.isPending} error={threads.error} />}</Tabs.Panel>
            <Tabs.Panel value="history">{tab === "history" && <History project={project} number={change.number} />}</Tabs.Panel>
          </Tabs>
        </div>
        <aside className={css.side} aria-label="State of the change request">
          <Actions project={project} change={change} checks={checks.data} changed={changed} />
          {change.state !== "merged" && change.state !== "closed" && <Checks checks={checks.data} error={checks.error} retry={() => void checks.refetch()} />}
          <Reviews change={change} />
        </aside>
      </div>
    </>
  );
}

function Facts({ project, change }: { project: string; change: Change }) {
  return (
    <div className={css.facts}>
      <StateChip state={change.state} />
      <span>
        for{" "}
        <Link to="/p/$project/apps/$app" params={{ project, app: change.app }} className="link">
          {change.app}/{change.ref}
        </Link>
      </span>
      <span className="dim">
        by {change.author}, <Ago at={change.created_at} />, revision {change.revision}
      </span>
      {change.unresolved_threads > 0 && <Chip tone="warn">{change.unresolved_threads} open {change.unresolved_threads === 1 ? "thread" : "threads"}</Chip>}
    </div>
  );
}

function About({ project, change, changed }: { project: string; change: Change; changed: (change: Change) => void }) {
  const [editing, setEditing] = useState(false);
  const empty = change.description === "" && change.expected_outcome === "";
  return (
    <Panel
      title="Why"
      side={
        change.allowed.includes("edit") && (
          <Button variant="subtle" color="gray" size="compact-xs" onClick={() => setEditing(true)}>
            Edit
          </Button>
        )
      }
    >
      {empty ? <p className="dim">No reason was given.</p> : null}
      {change.description !== "" && <p className={css.prose}>{change.description}</p>}
      {change.expected_outcome !== "" && (
        <>
          <h3 className={css.sub}>Expected outcome</h3>
          <p className={css.prose}>{change.expected_outcome}</p>
        </>
      )}
      {change.notes.length > 0 && (
        <ul className={css.notes}>
          {change.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      {editing && <AboutModal project={project} change={change} close={() => setEditing(false)} changed={changed} />}
    </Panel>
  );
}

function AboutModal({ project, change, close, changed }: { project: string; change: Change; close: () => void; changed: (change: Change) => void }) {
  const [title, setTitle] = useState(change.title);
  const [description, setDescription] = useState(change.description);
  const [outcome, setOutcome] = useState(change.expected_outcome);
  const save = useMutation({
    mutationFn: () => editChange(project, change.number, { title: title.trim(), description, expected_outcome: outcome }),
    onSuccess: (next) => {
      changed(next);
      close();
    },
  });
  return (
    <Modal opened onClose={close} title="Say it anew" size="lg">
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (title.trim() !== "") save.mutate();
        }}
      >
        <Failure error={save.error} />
        <TextInput label="Title" required maxLength={200} data-autofocus value={title} onChange={(event) => setTitle(event.currentTarget.value)} />
        <Textarea label="Reason" autosize minRows={3} maxLength={20_000} value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
        <Textarea label="Expected outcome" autosize minRows={2} maxLength={4000} value={outcome} onChange={(event) => setOutcome(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending} disabled={title.trim() === ""}>
            Save
          </Button>
        </div>
      </form>
    </Modal>
  );
}

function Conversation({ where, threads, pending, error }: { where: Where; threads: Thread[]; pending: boolean; error: unknown }) {
  return (
    <Panel label="Conversation">
      <div className={css.conversation}>
        <Failure error={error} />
        {pending && error === null ? <Loading rows={4} /> : threads.length === 0 ? <p className="dim">Nothing is said about the whole yet. A line of a prompt is spoken about where it stands, under Changes.</p> : null}
        {threads.map((thread) => (
          <ThreadView key={thread.id} where={where} thread={thread} />
        ))}
        {where.open && <Composer where={where} label="Say something about the change as a whole" />}
      </div>
    </Panel>
  );
}

function History({ project, number }: { project: string; number: number }) {
  const query = useInfiniteQuery(changeEventsQuery(project, number));
  const events = query.data?.pages.flatMap((page) => page.items) ?? [];
  if (query.data === undefined) return <Panel label="History">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>;
  return (
    <Panel label="History" flush>
      <Scroll label="What happened">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Who</th>
              <th scope="col">What</th>
              <th scope="col">Detail</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <tr key={event.sequence}>
                <td style={{ whiteSpace: "nowrap" }}>
                  <Ago at={event.at} />
                </td>
                <td>{event.by}</td>
                <td>{event.kind.replaceAll("_", " ")}</td>
                <td className={css.value}>{detail(event.detail)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {query.hasNextPage && (
        <div className={css.more}>
          <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show more
          </Button>
        </div>
      )}
    </Panel>
  );
}

const IDS = new Set(["comment", "thread", "evidence"]);

/** An event's facts in a line; digests by their heads, as everywhere. */
function detail(facts: Record<string, unknown>): string {
  return Object.entries(facts)
    .filter(([name, value]) => !IDS.has(name) && value !== "" && value !== null && value !== false && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${(typeof value === "string" ? value : JSON.stringify(value)).replace(/sha256:([0-9a-f]{12})[0-9a-f]{52}/g, "$1")}`)
    .join(", ");
}

/** The proposed prompt beside the present one, on the app's model: reviewers see what they judge. */
function Try({ project, change, diff }: { project: string; change: Change; diff: ReleaseDiff }) {
  const part = diff.prompt.find((each) => each.new !== null && each.role === "system") ?? diff.prompt.find((each) => each.new !== null);
  const name = part?.new?.name ?? "";
  const now = useQuery({ ...promptQuery(project, name, { digest: part?.new?.digest }), enabled: part !== undefined });
  const before = useQuery({ ...promptQuery(project, part?.old?.name ?? "", { digest: part?.old?.digest }), enabled: part?.old !== null && part !== undefined });
  if (part?.new == null || now.data === undefined || (part.old !== null && before.data === undefined)) return null;
  const model = diff.model.find((each) => each.role === "primary")?.new?.name ?? "";
  return (
    <Playground
      project={project}
      name={name}
      contenders={[...(before.data ? [{ title: "Now", text: before.data.text }] : []), { title: "Proposed", text: now.data.text }]}
      variables={now.data.variables}
      uses={[{ app: change.app, ref: change.ref, role: part.role, version: part.new.version, digest: part.new.digest, model }]}
      blocked=""
    />
  );
}
