import { Button, SegmentedControl, Select } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconGitPullRequest, IconMessage } from "@tabler/icons-react";
import { useEffect } from "react";
import { appsQuery } from "@/api/apps";
import { changesQuery, type ChangeState } from "@/api/changes";
import { sessionQuery } from "@/api/session";
import { Chip } from "@/kit/Chips";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./changes.module.css";
import { VIEWS, type ChangesView } from "./search";
import { StateChip } from "./StateChip";
import { belongs } from "./threads";

const route = getRouteApi("/signed-in/p/$project/changes");
const LABELS: Record<ChangesView, string> = { open: "Open", mine: "Mine", review: "To review", merged: "Merged", closed: "Closed" };
const NONE: Record<ChangesView, string> = {
  open: "Nothing is proposed now",
  mine: "You have proposed nothing yet",
  review: "Nothing waits for your review",
  merged: "Nothing was merged yet",
  closed: "Nothing was closed without a merge",
};

const STATES: Record<ChangesView, ChangeState[] | undefined> = {
  open: ["draft", "open", "approved", "changes_requested"],
  mine: undefined,
  review: ["open", "approved", "changes_requested"],
  merged: ["merged"],
  closed: ["closed"],
};

/** The change requests of a project: what is proposed, and what came of it. */
export function ChangesPage() {
  const { project } = route.useParams();
  const { view = "open", app } = route.useSearch();
  const navigate = route.useNavigate();
  const session = useQuery(sessionQuery);
  const apps = useQuery(appsQuery(project));
  const me = session.data?.principal.id ?? "";
  const query = useInfiniteQuery({ ...changesQuery(project, { app, states: STATES[view] }), placeholderData: keepPreviousData, refetchInterval: 10_000 });
  const shown = (query.data?.pages.flatMap((page) => page.items) ?? []).filter((change) => belongs(change, view, me));
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  const empty = shown.length === 0 && query.data !== undefined;
  useEffect(() => {
    // A page may hold nothing of this view while older ones do.
    if (empty && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [empty, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const set = (next: { view: ChangesView; app: string | undefined }): void => void navigate({ search: { view: next.view === "open" ? undefined : next.view, app: next.app }, replace: true });
  return (
    <Page title="Change requests">
      <div className={css.filters}>
        <SegmentedControl aria-label="Which" value={view} data={VIEWS.map((value) => ({ value, label: LABELS[value] }))} onChange={(value) => set({ view: value, app })} />
        <Select aria-label="App" placeholder="All apps" clearable data={(apps.data ?? []).map((each) => each.name)} value={app ?? null} onChange={(value) => set({ view, app: value ?? undefined })} w={180} />
      </div>
      <Panel flush label="Change requests">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : empty ? (
          hasNextPage ? (
            <Loading />
          ) : (
            <EmptyState icon={<IconGitPullRequest size={28} stroke={1.4} color="var(--t-accent)" />} title={NONE[view]}>
              Open a prompt under{" "}
              <Link to="/p/$project/prompts" params={{ project }} className="link">
                Prompts
              </Link>
              , edit it, see it answer, and propose the change.
            </EmptyState>
          )
        ) : (
          <>
            <Scroll label="Change requests and their state">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <th scope="col">Change</th>
                    <th scope="col">State</th>
                    <th scope="col">For</th>
                    <th scope="col">Parts</th>
                    <th scope="col">By</th>
                    <th scope="col">Last activity</th>
                  </tr>
                </thead>
                <tbody>
                  {shown.map((change) => (
                    <tr key={change.number}>
                      <td>
                        <span className={css.nameCell}>
                          <span className="dim num">#{change.number}</span>
                          <Link to="/p/$project/changes/$change" params={{ project, change: String(change.number) }} className="link">
                            {change.title}
                          </Link>
                          {change.comments > 0 && (
                            <span className={css.comments} title={`${change.unresolved_threads} open threads`}>
                              <IconMessage size={13} aria-hidden="true" />
                              {change.comments}
                              <span className="unseen"> comments</span>
                            </span>
                          )}
                        </span>
                      </td>
                      <td>
                        <span className={css.nameCell}>
                          <StateChip state={change.state} />
                          {change.behind && belongs(change, "open", me) && <Chip tone="warn">behind</Chip>}
                        </span>
                      </td>
                      <td style={{ whiteSpace: "nowrap" }}>
                        {change.app}/{change.ref}
                      </td>
                      <td className={css.parts}>{change.parts.join(", ")}</td>
                      <td>{change.author}</td>
                      <td style={{ whiteSpace: "nowrap" }}>
                        <Ago at={change.updated_at} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            {hasNextPage && (
              <div className={css.more}>
                <Button variant="default" loading={isFetchingNextPage} onClick={() => void fetchNextPage()}>
                  Show older ones
                </Button>
              </div>
            )}
          </>
        )}
      </Panel>
    </Page>
  );
}
