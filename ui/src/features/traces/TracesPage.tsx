import { ActionIcon, Loader, SegmentedControl, Switch, Tooltip } from "@mantine/core";
import { useHotkeys, useMediaQuery } from "@mantine/hooks";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconRefresh, IconTimeline } from "@tabler/icons-react";
import { useCallback, useMemo, useRef, useState } from "react";
import { SORTS, tracesQuery, type TraceRow } from "@/api/traces";
import { Dot } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { plural } from "@/kit/format";
import { useTitle } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { mergeRows, useLiveTraces } from "./live";
import type { Filters } from "./query";
import { QueryBar } from "./QueryBar";
import { DEFAULT_SORT, DEFAULT_WINDOW, filtersOf, nextSort, TRACE_WINDOWS, type TracesSearch, type TraceWindow } from "./search";
import { TraceTable } from "./TraceTable";
import css from "./traces.module.css";

const route = getRouteApi("/signed-in/p/$project/traces");

/** The traces of a project; all of its state is in the URL. */
export function TracesPage() {
  useTitle("Traces");
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const window = search.window ?? DEFAULT_WINDOW;
  const sort = search.sort ?? DEFAULT_SORT;
  const filters = filtersOf(search);
  const filtered = Object.keys(filters).length > 0;
  // The window ends where the list was asked for; `refresh` asks again.
  const [anchor, setAnchor] = useState(() => Date.now());
  const live = search.live === "1" && sort === DEFAULT_SORT;

  const query = useInfiniteQuery({
    ...tracesQuery(project, { window, sort, filters, anchor }, { from: new Date(anchor - TRACE_WINDOWS[window] * 1000).toISOString(), sort, filters }),
    placeholderData: keepPreviousData,
  });
  const stream = useLiveTraces(project, filters, live, () => setAnchor(Date.now()));
  const listed = useMemo<TraceRow[]>(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const rows = useMemo(() => (live ? mergeRows(stream.rows, listed) : mergeRows([], listed)), [live, stream.rows, listed]);

  const set = useCallback((next: TracesSearch) => void navigate({ search: clean(next), replace: true }), [navigate]);
  const setFilters = (next: Filters): void => set({ ...(search.window ? { window: search.window } : {}), ...(search.sort ? { sort: search.sort } : {}), ...(search.live ? { live: search.live } : {}), ...next });
  const bar = useRef<HTMLInputElement>(null);
  const toggleLive = (): void => set({ ...search, sort: undefined, live: live ? undefined : "1" });
  useHotkeys([
    ["/", () => bar.current?.focus()],
    ["l", toggleLive],
  ]);
  const narrow = useMediaQuery("(max-width: 720px)");
  const small = useMediaQuery("(max-width: 1100px)");
  const middle = useMediaQuery("(max-width: 1300px)");
  const hidden = useMemo(() => (narrow ? ["app", "release", "model", "session", "tokens", "cost", "first_token"] : small ? ["model", "session", "cost", "first_token"] : middle ? ["session", "first_token"] : []), [narrow, small, middle]);

  const { fetchNextPage, hasNextPage, isFetchingNextPage } = query;
  const more = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [fetchNextPage, hasNextPage, isFetchingNextPage]);

  return (
    <div className={css.listPage}>
      <header className={css.listHead}>
        <h1>Traces</h1>
        <span className="dim num" role="status">
          {query.isPending ? "" : `${plural(rows.length, "trace")}${hasNextPage ? " so far" : ""}`}
        </span>
        {query.isFetching && <Loader size={14} />}
        <div className={css.side}>
          <Tooltip label="New traces appear as they end (L)">
            <div>
              <Switch
                size="xs"
                label={
                  <span className={css.liveLabel}>
                    Live {stream.state === "live" && <Dot tone="good" />}
                    {stream.state === "lost" && <span className={css.lost}>reconnecting</span>}
                  </span>
                }
                checked={live}
                onChange={toggleLive}
              />
            </div>
          </Tooltip>
          <SegmentedControl aria-label="Window" value={window} data={Object.keys(TRACE_WINDOWS)} onChange={(value) => set({ ...search, window: value as TraceWindow })} />
          <Tooltip label="Refresh">
            <ActionIcon
              aria-label="Refresh"
              variant="default"
              onClick={() => setAnchor(Date.now())}
            >
              <IconRefresh size={15} />
            </ActionIcon>
          </Tooltip>
        </div>
      </header>
      <QueryBar filters={filters} onChange={setFilters} ref={bar} />
      <div className={css.listBody}>
        {query.isError && rows.length === 0 ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : query.isPending ? (
          <Loading rows={14} height={14} />
        ) : rows.length === 0 ? (
          <NoTraces window={window} filtered={filtered} clear={() => setFilters({})} />
        ) : (
          <TraceTable
            project={project}
            rows={rows}
            now={anchor}
            sort={sort}
            hidden={hidden}
            onSort={(column) => {
              const known = SORTS.find((s) => s === column);
              if (known) set({ ...search, sort: nextSort(sort, known), live: undefined });
            }}
            onEnd={more}
            ending={isFetchingNextPage ? "loading" : hasNextPage ? "more" : "end"}
          />
        )}
      </div>
    </div>
  );
}

/** Leaves out what is not set, and what is as usual. */
function clean(search: TracesSearch): TracesSearch {
  return Object.fromEntries(Object.entries(search).filter(([key, value]) => value !== undefined && !(key === "window" && value === DEFAULT_WINDOW) && !(key === "sort" && value === DEFAULT_SORT)));
}

function NoTraces({ window, filtered, clear }: { window: TraceWindow; filtered: boolean; clear: () => void }) {
  if (filtered)
    return (
      <EmptyState icon={<IconTimeline size={28} stroke={1.4} />} title={`No trace of the last ${window} fits these filters`}>
        Widen the window, or{" "}
        <button type="button" className={css.textButton} onClick={clear}>
          clear the filters
        </button>
        .
      </EmptyState>
    );
  return (
    <EmptyState
      icon={<IconTimeline size={28} stroke={1.4} color="var(--t-accent)" />}
      title={`No traces in the last ${window}`}
      more={
        <>
          <Command text={'eval "$(tetrad env)"'} />
          <Command text={`curl "$OPENAI_BASE_URL/chat/completions" \\\n  -H "authorization: Bearer $OPENAI_API_KEY" -H "content-type: application/json" \\\n  -d '{"model": "app:assistant", "messages": [{"role": "user", "content": "Hello"}]}'`} />
        </>
      }
    >
      Every call through the gateway leaves one. Make a call, or widen the window.
    </EmptyState>
  );
}
