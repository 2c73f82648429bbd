import { ActionIcon, Button, TextInput, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowRight, IconArrowsExchange } from "@tabler/icons-react";
import { useState } from "react";
import { releaseDiffQuery, type ReleaseDiff } from "@/api/releases";
import { Crumbs } from "@/kit/Crumbs";
import { shortDigest } from "@/kit/format";
import { Page, Panel } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { ReleaseDiffView } from "./ReleaseDiffView";
import css from "./releases.module.css";

const route = getRouteApi("/signed-in/p/$project/releases/diff");

/** What changed from one release to another; each is a digest, `APP/REF`, or `APP/REF@3`. */
export function ReleaseDiffPage() {
  const { project } = route.useParams();
  const { from = "", to = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useQuery(releaseDiffQuery(project, from, to));
  const set = (next: { from: string; to: string }): void => void navigate({ search: next, replace: true });
  return (
    <Page
      title="Changes between releases"
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/releases" params={{ project }} search={query.data ? { app: query.data.new.app } : {}} className="link">
              Releases
            </Link>,
          ]}
        >
          Changes
        </Crumbs>
      }
      side={<Ends key={`${from} ${to}`} from={from} to={to} set={set} />}
    >
      {from === "" || to === "" ? (
        <Panel label="Changes">
          <EmptyState title="Which two releases?">Write a digest or a ref, such as assistant/production, on both sides; or choose two in the list of releases.</EmptyState>
        </Panel>
      ) : query.data === undefined ? (
        <Panel label="Changes">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <div className={css.sides}>
            <Side project={project} title="From" side={query.data.old} />
            <Side project={project} title="To" side={query.data.new} />
          </div>
          {query.data.same ? (
            <Panel label="Changes">
              <ReleaseDiffView project={project} diff={query.data} />
            </Panel>
          ) : (
            <ReleaseDiffView project={project} diff={query.data} />
          )}
        </>
      )}
    </Page>
  );
}

function Ends({ from, to, set }: { from: string; to: string; set: (next: { from: string; to: string }) => void }) {
  const [old, setOld] = useState(from);
  const [now, setNow] = useState(to);
  return (
    <form
      className={css.ends}
      onSubmit={(event) => {
        event.preventDefault();
        set({ from: old.trim(), to: now.trim() });
      }}
    >
      <TextInput aria-label="From release" placeholder="assistant/production" value={old} onChange={(event) => setOld(event.currentTarget.value)} w={190} />
      <IconArrowRight size={14} aria-label="to" />
      <TextInput aria-label="To release" placeholder="assistant/staging" value={now} onChange={(event) => setNow(event.currentTarget.value)} w={190} />
      <Tooltip label="The other way round">
        <ActionIcon variant="default" aria-label="The other way round" onClick={() => set({ from: now.trim(), to: old.trim() })}>
          <IconArrowsExchange size={15} />
        </ActionIcon>
      </Tooltip>
      <Button type="submit" variant="default">
        Compare
      </Button>
    </form>
  );
}

function Side({ project, title, side }: { project: string; title: string; side: ReleaseDiff["old"] }) {
  return (
    <Panel label={title}>
      <div className={css.side}>
        <span className="dim">{title}</span>
        <Link to="/p/$project/releases/$digest" params={{ project, digest: side.digest }} className="link mono" title={side.digest}>
          {shortDigest(side.digest, 12)}
        </Link>
        <span>
          {side.app} number {side.sequence}
        </span>
        <span className="dim">
          <Ago at={side.created_at} /> by {side.created_by}
          {side.reason !== "" && `: ${side.reason}`}
        </span>
      </div>
    </Panel>
  );
}
