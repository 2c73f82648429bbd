import { Button, Menu, Modal, NumberInput, SegmentedControl, Select, Switch } from "@mantine/core";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconDots, IconEdit, IconEraser, IconPlus, IconTrash } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { appsQuery } from "@/api/apps";
import { CACHE_SORTS, cacheServerQuery, cachesQuery, cacheUseQuery, clearCache, deleteCache, putCache, type CacheBody, type CachePolicy, type CacheSort, type CacheUse } from "@/api/gateway";
import { WINDOWS, type Window } from "@/api/overview";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { Confirm, Form } from "@/kit/Forms";
import { compact, count, duration, percent, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { factsOf, savedOf, stateOf, sumUse } from "./cacheUse";
import type { CacheSearch } from "./search";

const Chart = lazy(() => import("@/kit/Chart"));
const route = getRouteApi("/signed-in/p/$project/gateway/cache");
const WORDS: Record<Window, string> = { "15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days" };
/** Stands for calls of no app, and of apps without a policy of their own. */
const OTHERS = "-";
type Act = { kind: "edit"; policy?: CachePolicy } | { kind: "clear" | "remove"; policy: CachePolicy } | null;

const USES: { value: CacheBody["use"]; label: string; word: string }[] = [
  { value: "always", label: "of all calls", word: "all calls" },
  { value: "asked", label: "of calls that ask for it (x-tetrad-cache: on)", word: "calls that ask" },
  { value: "never", label: "of no call", word: "off" },
];
const SHARED: { value: CacheBody["shared_by"]; label: string }[] = [
  { value: "project", label: "everybody in the project" },
  { value: "user", label: "the same user" },
  { value: "unit", label: "the same unit" },
];
const SIMILAR: { value: CacheBody["semantic"]; label: string; word: string }[] = [
  { value: "off", label: "no", word: "no" },
  { value: "cold", label: "where the temperature is at most 0.2", word: "cold calls" },
  { value: "any", label: "always", word: "yes" },
];

/** What is answered from the cache, what that saved, and by which policies. */
export function CachePage() {
  const { project } = route.useParams();
  const { window = "24h", q = "", sort = "app" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const set = (next: CacheSearch): void => void navigate({ search: (old) => withSearch<CacheSearch>(old, next), replace: true });
  const policies = useQuery(cachesQuery(project));
  const found = useQuery({ ...cachesQuery(project, q, sort), placeholderData: keepPreviousData });
  const use = useQuery({ ...cacheUseQuery(project, window), placeholderData: keepPreviousData });
  const server = useQuery(cacheServerQuery(project));
  const [act, setAct] = useState<Act>(null);
  const queries = useQueryClient();
  const refresh = (): void => {
    void queries.invalidateQueries({ queryKey: ["caches", project] });
    setAct(null);
  };
  const clear = useMutation({ mutationFn: (app: string) => clearCache(project, app), onSuccess: refresh });
  const remove = useMutation({ mutationFn: (app: string) => deleteCache(project, app), onSuccess: refresh });
  return (
    <GatewayPage
      project={project}
      title="Cache"
      side={
        <>
          <SegmentedControl aria-label="Window" value={window} data={WINDOWS.map((each) => ({ value: each, label: each }))} onChange={(next) => set({ window: next === "24h" ? undefined : next })} />
          {admin && (
            <Button leftSection={<IconPlus size={14} />} onClick={() => setAct({ kind: "edit" })}>
              Policy of an app
            </Button>
          )}
        </>
      }
    >
      {use.data === undefined ? <Panel label="What the cache did">{use.isError ? <ErrorState error={use.error} retry={() => void use.refetch()} busy={use.isFetching} /> : <Loading rows={4} />}</Panel> : <Use use={use.data} shared={server.data !== undefined && server.data.state !== "none"} />}
      <Server project={project} />
      <Panel title="Policies" note={`whose answers are kept; what it did in the ${WORDS[window]}`} flush>
        {policies.data === undefined ? (
          policies.isError ? (
            <ErrorState error={policies.error} retry={() => void policies.refetch()} busy={policies.isFetching} />
          ) : (
            <Loading rows={3} />
          )
        ) : (
          <>
            <div className={css.filters} role="search">
              <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a policy" placeholder="Name of an app" />
            </div>
            {found.isError ? (
              <ErrorState error={found.error} retry={() => void found.refetch()} busy={found.isFetching} />
            ) : found.data?.length === 0 ? (
              <EmptyState title="No policy is so">Search for another part of the name of an app. Apps without a policy of their own have that of all other calls.</EmptyState>
            ) : (
              <Policies project={project} policies={found.data ?? []} own={new Set(policies.data.map((policy) => policy.app))} use={use.data} sort={sort} onSort={(next) => set({ sort: CACHE_SORTS.find((each) => each === next && each !== "app") })} onAct={admin ? setAct : null} />
            )}
          </>
        )}
      </Panel>
      {act?.kind === "edit" && <PolicyForm project={project} policies={policies.data ?? []} {...(act.policy ? { policy: act.policy } : {})} close={() => setAct(null)} done={refresh} />}
      {act?.kind === "clear" && (
        <Confirm title={`Clear the cache of ${nameOf(act.policy.app)}?`} act="Clear" error={clear.error} busy={clear.isPending} close={() => setAct(null)} confirm={() => clear.mutate(act.policy.app)}>
          What was kept is reachable no more, in every gateway. Calls are made again, and paid again.
        </Confirm>
      )}
      {act?.kind === "remove" && (
        <Confirm title={`Remove the policy of ${nameOf(act.policy.app)}?`} act={act.policy.app === OTHERS ? "Back to the default" : "Remove policy"} error={remove.error} busy={remove.isPending} close={() => setAct(null)} confirm={() => remove.mutate(act.policy.app)}>
          {act.policy.app === OTHERS ? "Answers are kept only of calls that ask for it, for an hour." : "The policy of all other calls holds for it then. Nothing that was kept under either is reachable any more."}
        </Confirm>
      )}
    </GatewayPage>
  );
}

/** The Valkey or Redis that gateways share answers in: whether it is there, and what became of reads and writes. */
function Server({ project }: { project: string }) {
  const server = useQuery(cacheServerQuery(project));
  if (server.data === undefined) return <Panel label="Shared by gateways">{server.isError ? <ErrorState error={server.error} retry={() => void server.refetch()} busy={server.isFetching} /> : <Loading rows={1} />}</Panel>;
  const { tone, word, text } = stateOf(server.data);
  const facts = factsOf(server.data);
  return (
    <Panel title="Shared by gateways" {...(facts.length > 0 ? { note: "in all projects, since the gateways began" } : {})} side={<Chip tone={tone}>{word}</Chip>}>
      <p style={{ margin: 0, overflowWrap: "anywhere" }}>{text}</p>
      {server.data.state !== "none" && facts.length > 0 && <p className="dim num" style={{ margin: "4px 0 0" }}>{facts.join(" · ")}</p>}
    </Panel>
  );
}

function nameOf(app: string): string {
  return app === OTHERS ? "all other calls" : app;
}

function Use({ use, shared }: { use: CacheUse; shared: boolean }) {
  const all = sumUse(use);
  const times = useMemo(() => use.series.map((point) => Date.parse(point.at)), [use]);
  const series = useMemo(
    () => [
      { name: "from the cache", values: use.series.map((point) => point.hits), ink: "accent" as const, kind: "bar" as const, stack: "calls" },
      { name: "from a model", values: use.series.map((point) => point.misses), ink: "accentSoft" as const, kind: "bar" as const, stack: "calls" },
    ],
    [use],
  );
  const tiles: [string, string, string][] = [
    ["Hit rate", percent(all.hit_rate), `${count(all.hits)} of ${count(all.hits + all.misses)} calls`],
    ["Similar questions", count(all.similar_hits), "of the hits"],
    ...(shared || all.shared_hits > 0 ? [["From the shared cache", count(all.shared_hits), "of the hits"] satisfies [string, string, string]] : []),
    ["Saved", savedOf(all), all.unpriced_hits > 0 ? `and ${plural(all.unpriced_hits, "answer")} of unknown price` : "what the answers had cost"],
    ["Saved tokens", compact(all.saved_tokens), "in and out"],
    ["Saved time", duration(all.saved_ms), "that models took"],
  ];
  return (
    <>
      <dl className={css.tiles} style={{ margin: 0 }} aria-label={`What the cache did, ${WORDS[use.window]}`}>
        {tiles.map(([label, value, note]) => (
          <div key={label} className={css.tile}>
            <dt>{label}</dt>
            <dd>
              {value}
              <div className={css.tileNote}>{note}</div>
            </dd>
          </div>
        ))}
      </dl>
      <Panel
        title="Calls that looked into the cache"
        note={WORDS[use.window]}
        side={
          <span className={css.legend}>
            <span data-ink="accent">from the cache</span>
            <span data-ink="accentSoft">from a model</span>
          </span>
        }
      >
        {all.hits + all.misses + all.refreshes === 0 ? (
          <p className="dim" style={{ margin: 0 }}>
            No call looked into the cache in this window. Set a policy below to “all calls”, or send the header <code>x-tetrad-cache: on</code>.
          </p>
        ) : (
          <Suspense fallback={<div style={{ height: 180 }} />}>
            <Chart times={times} series={series} format={count} whole label={`Calls that looked into the cache, ${WORDS[use.window]}: ${all.hits} hits, ${all.misses} misses`} />
          </Suspense>
        )}
      </Panel>
    </>
  );
}

/** What apps without a policy of their own did stands by the policy that holds for them; `own` are those that have one. */
function Policies({ project, policies, own, use, sort, onSort, onAct }: { project: string; policies: CachePolicy[]; own: ReadonlySet<string>; use: CacheUse | undefined; sort: CacheSort; onSort: (sort: string) => void; onAct: ((act: Act) => void) | null }) {
  return (
    <Scroll label="Policies of the cache">
      <table className={kit.table}>
        <thead>
          <tr>
            <SortHead field="app" sort={sort} onSort={onSort}>
              Whose answers
            </SortHead>
            <th scope="col">Kept</th>
            <SortHead field="ttl" sort={sort} onSort={onSort} first="desc">
              For
            </SortHead>
            <th scope="col">Shared by</th>
            <th scope="col">Similar questions</th>
            <th scope="col">Tool calls</th>
            <th scope="col" className={kit.right}>
              Hit rate
            </th>
            <th scope="col" className={kit.right}>
              Saved
            </th>
            {onAct && (
              <th scope="col">
                <span className="unseen">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {policies.map((policy) => {
            const did = use && sumUse({ ...use, items: use.items.filter((each) => (policy.app === OTHERS ? !own.has(each.app) : each.app === policy.app)) });
            return (
              <tr key={policy.app}>
                <td className={css.named} style={{ fontWeight: 500 }}>
                  {policy.app === OTHERS ? (
                    nameOf(policy.app)
                  ) : (
                    <Link to="/p/$project/apps/$app" params={{ project, app: policy.app }} className="link">
                      {policy.app}
                    </Link>
                  )}
                </td>
                <td>
                  <Chip tone={policy.use === "always" ? "good" : "neutral"}>{USES.find((each) => each.value === policy.use)?.word ?? policy.use}</Chip>
                </td>
                <td className="num" style={{ whiteSpace: "nowrap" }}>
                  {duration(policy.ttl_s * 1000)}
                </td>
                <td className={css.whole}>{SHARED.find((each) => each.value === policy.shared_by)?.label}</td>
                <td>
                  {SIMILAR.find((each) => each.value === policy.semantic)?.word}
                  {policy.semantic !== "off" && <span className="dim num"> from {policy.threshold}</span>}
                </td>
                <td>{policy.tools ? "kept" : "not kept"}</td>
                <td className={kit.right}>{percent(did?.hit_rate)}</td>
                <td className={kit.right}>{did ? savedOf(did) : "–"}</td>
                {onAct && (
                  <td style={{ textAlign: "right" }}>
                    <Menu position="bottom-end">
                      <Menu.Target>
                        <Button variant="subtle" color="gray" size="compact-xs" aria-label={`Actions for the policy of ${nameOf(policy.app)}`}>
                          <IconDots size={15} />
                        </Button>
                      </Menu.Target>
                      <Menu.Dropdown>
                        <Menu.Item leftSection={<IconEdit size={14} />} onClick={() => onAct({ kind: "edit", policy })}>
                          Change…
                        </Menu.Item>
                        <Menu.Item leftSection={<IconEraser size={14} />} onClick={() => onAct({ kind: "clear", policy })}>
                          Clear…
                        </Menu.Item>
                        <Menu.Item leftSection={<IconTrash size={14} />} color="red" onClick={() => onAct({ kind: "remove", policy })}>
                          {policy.app === OTHERS ? "Back to the default…" : "Remove…"}
                        </Menu.Item>
                      </Menu.Dropdown>
                    </Menu>
                  </td>
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

function PolicyForm({ project, policy, policies, close, done }: { project: string; policy?: CachePolicy; policies: CachePolicy[]; close: () => void; done: () => void }) {
  const apps = useQuery({ ...appsQuery(project), enabled: policy === undefined });
  const [app, setApp] = useState(policy?.app ?? "");
  const [draft, setDraft] = useState<CacheBody>(
    policy ? { use: policy.use, ttl_s: policy.ttl_s, tools: policy.tools, shared_by: policy.shared_by, semantic: policy.semantic, threshold: policy.threshold } : { use: "always", ttl_s: 3600, tools: false, shared_by: "project", semantic: "off", threshold: policies[0]?.threshold ?? 0.95 },
  );
  const set = (change: Partial<CacheBody>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({ mutationFn: () => putCache(project, app, draft), onSuccess: done });
  const free = (apps.data ?? []).map((each) => each.name).filter((name) => !policies.some((each) => each.app === name));
  return (
    <Modal opened onClose={close} title={policy ? `How answers of ${nameOf(policy.app)} are kept` : "How answers of an app are kept"} size="lg">
      <Form act="Save" submit={() => save.mutate()} close={close} busy={save.isPending} error={save.error} disabled={app === ""}>
        {policy === undefined && <Select label="App" data={free} value={app === "" ? null : app} onChange={(value) => setApp(value ?? "")} placeholder={apps.data && free.length === 0 ? "Every app has a policy of its own" : "Choose an app"} searchable required data-autofocus />}
        <Select label="Keep answers" data={USES.map(({ value, label }) => ({ value, label }))} value={draft.use} onChange={(value) => set({ use: USES.find((each) => each.value === value)?.value ?? "asked" })} allowDeselect={false} />
        <div className={css.pair}>
          <NumberInput size="xs" label="For, s" description="Up to 31 days" min={1} max={31 * 86_400} allowDecimal={false} thousandSeparator="," value={draft.ttl_s} onChange={(ttl_s) => typeof ttl_s === "number" && set({ ttl_s })} />
          <Select label="Share them with" description="Who may get whose answers" data={SHARED} value={draft.shared_by} onChange={(value) => set({ shared_by: SHARED.find((each) => each.value === value)?.value ?? "project" })} allowDeselect={false} />
        </div>
        <div className={css.pair}>
          <Select label="One answer for similar questions" data={SIMILAR.map(({ value, label }) => ({ value, label }))} value={draft.semantic} onChange={(value) => set({ semantic: SIMILAR.find((each) => each.value === value)?.value ?? "off" })} allowDeselect={false} />
          {draft.semantic !== "off" && <NumberInput size="xs" label="Similar from, cosine" min={0.8} max={1} step={0.01} decimalScale={4} value={draft.threshold} onChange={(threshold) => typeof threshold === "number" && set({ threshold })} />}
        </div>
        <Switch size="xs" label="Keep answers that call tools" checked={draft.tools} onChange={(event) => set({ tools: event.currentTarget.checked })} />
      </Form>
    </Modal>
  );
}
