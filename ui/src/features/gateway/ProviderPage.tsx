import { Button, SegmentedControl, Select } from "@mantine/core";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconPlayerPlay } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { deleteProvider, providerHealthQuery, providerQuery, routedModelsQuery, routeHealthQuery, trafficQuery, tryProvider, type CallFailure, type Provider, type TargetHealth, type UpstreamTraffic } from "@/api/gateway";
import { allPricesQuery } from "@/api/models";
import { WINDOWS, type Window } from "@/api/overview";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { Failure } from "@/kit/Failure";
import { ChangeAndRemove, Confirm } from "@/kit/Forms";
import { count, duration, exactPrice, percent, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import css from "./gateway.module.css";
import { tellsHealth, verdict } from "./health";
import { ProviderForm } from "./ProviderForm";
import { elseOf } from "./PriceLines";
import { importWords, priceRows, sourceWords } from "./prices";
import { LOGINS, optionTexts } from "./providerForm";
import type { ProviderSearch } from "./search";

const Chart = lazy(() => import("@/kit/Chart"));
const route = getRouteApi("/signed-in/p/$project/gateway/providers/$provider");
const WORDS: Record<Window, string> = { "15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days" };

/** One provider: what it is, how it does, what its models cost. */
export function ProviderPage() {
  const { project, provider: name } = route.useParams();
  const { edit, window = "15m" } = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const admin = useAdmin();
  const [removing, setRemoving] = useState(false);
  const query = useQuery(providerQuery(project, name));
  const traffic = useQuery({ ...trafficQuery(project, window), placeholderData: keepPreviousData });
  const targets = useQuery(routeHealthQuery(project));
  const provider = query.data;
  const set = (next: ProviderSearch): void => void navigate({ search: (old) => withSearch<ProviderSearch>(old, next), replace: true });
  const remove = useMutation({
    mutationFn: () => deleteProvider(project, name),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["providers", project] });
      void navigate({ to: "/p/$project/gateway/providers", params: { project } });
    },
  });
  const mine = traffic.data?.items.find((each) => each.name === name);
  return (
    <Page
      title={name}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/gateway/providers" params={{ project }} className="link">
              Providers
            </Link>,
          ]}
        >
          {name}
        </Crumbs>
      }
      side={
        provider && (
          <>
            <LinkButton to="/p/$project/playground" params={{ project }} search={{ with: provider.models.filter((model) => model.kinds.includes("chat")).slice(0, 4).map((model) => `${name}/${model.name}`).join(",") }} variant="default">
              Try its models
            </LinkButton>
            {admin && <ChangeAndRemove change={() => set({ edit: "1" })} remove={() => setRemoving(true)} />}
          </>
        )
      }
    >
      {provider === undefined ? (
        <Panel label="Provider">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={8} />}</Panel>
      ) : (
        <>
          <Health provider={provider} traffic={mine} targets={targets.data ?? []} project={project} window={window} setWindow={(next) => set({ window: next === "15m" ? undefined : next })} pending={traffic.data === undefined} />
          <div className={css.columns}>
            <div className={css.stack}>
              <Calls traffic={mine} window={window} pending={traffic.data === undefined} error={traffic.data === undefined ? traffic.error : null} />
              <Models project={project} provider={provider} />
              {admin && <Trial key={provider.name} project={project} provider={provider} />}
            </div>
            <div className={css.stack}>
              <Failures project={project} failures={mine?.failures ?? []} window={window} />
              <About provider={provider} />
            </div>
          </div>
        </>
      )}
      {edit === "1" && provider && (
        <ForAdmins title={`Change ${name}`} to="change it" close={() => set({ edit: undefined })}>
          <ProviderForm project={project} provider={provider} taken={[]} close={() => set({ edit: undefined })} done={() => set({ edit: undefined })} />
        </ForAdmins>
      )}
      {removing && (
        <Confirm title={`Remove ${name}?`} act="Remove provider" error={remove.error} busy={remove.isPending} close={() => setRemoving(false)} confirm={() => remove.mutate()}>
          Its models can be called no more, and releases and routes that name them do without. Calls under way end as they would have; traces stay, and so does the secret.
        </Confirm>
      )}
    </Page>
  );
}

function Health({ provider, traffic, targets, project, window, setWindow, pending }: { provider: Provider; traffic: UpstreamTraffic | undefined; targets: TargetHealth[]; project: string; window: Window; setWindow: (window: Window) => void; pending: boolean }) {
  const health = useQuery({ ...providerHealthQuery(project, provider.name), enabled: tellsHealth(provider) });
  const { tone, word, why } = verdict(provider.name, traffic, targets, health.data);
  const keys = health.data;
  const mine = targets.filter((target) => target.model.startsWith(`${provider.name}/`));
  const tiles: { label: string; value: string; note: string; tone?: "bad" }[] = [
    { label: "Calls", value: count(traffic?.calls ?? 0), note: `${traffic ? Number(traffic.calls_per_minute.toPrecision(3)) : 0} a minute` },
    { label: "Error rate", value: percent(traffic?.error_rate), note: traffic ? `${plural(traffic.errors, "error")}, ${count(traffic.cancelled)} given up` : "no call", ...(traffic && traffic.errors > 0 ? { tone: "bad" as const } : {}) },
    { label: "Latency", value: duration(traffic?.latency_p50_ms), note: `p50; p95 ${duration(traffic?.latency_p95_ms)}` },
    { label: "First token", value: duration(traffic?.first_token_p50_ms), note: `p50; p95 ${duration(traffic?.first_token_p95_ms)}` },
    ...(keys && keys.workers > 0 && provider.secrets.length > 0 ? [{ label: "Keys", value: `${count(keys.keys_ready)} ready`, note: `${count(keys.keys_cooling)} pause, ${count(keys.keys_retired)} retired`, ...(keys.keys_retired > 0 ? { tone: "bad" as const } : {}) }] : []),
    ...(keys && keys.workers > 0 && provider.max_concurrency > 0 ? [{ label: "At once", value: `${count(keys.in_flight)} of ${count(Math.round(keys.limit))}`, note: `${count(keys.waiting)} wait, ${count(keys.refused)} refused` }] : []),
  ];
  return (
    <Panel
      title="Health"
      note={WORDS[window]}
      side={
        <span className={css.chips}>
          <Chip tone={tone} tip={why}>
            {word}
          </Chip>
          <SegmentedControl aria-label="Window" value={window} data={WINDOWS.map((each) => ({ value: each, label: each }))} onChange={setWindow} />
        </span>
      }
    >
      {pending ? (
        <Loading rows={2} />
      ) : (
        <dl className={css.tiles} style={{ margin: 0 }}>
          {tiles.map((tile) => (
            <div key={tile.label} className={css.tile}>
              <dt>{tile.label}</dt>
              <dd data-tone={tile.tone}>
                {tile.value}
                <div className={css.tileNote}>{tile.note}</div>
              </dd>
            </div>
          ))}
        </dl>
      )}
      {mine.length > 0 && (
        <ul className={css.targets} style={{ marginTop: 12 }} aria-label="Breakers">
          {mine.map((target) => (
            <li key={`${target.route} ${target.model}`}>
              <Breaker target={target} />
              <span className="mono">{target.model}</span>
              <span className="dim">
                in the route {target.route}, {plural(target.in_flight, "call")} under way
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** What the breakers of all gateway workers say of a target. */
export function Breaker({ target }: { target: TargetHealth }) {
  const of = plural(target.workers, "worker");
  if (target.open > 0) return <Chip tone="bad" tip={`${target.open} of ${of} leave it alone`}>open</Chip>;
  if (target.half_open > 0) return <Chip tone="warn" tip={`${target.half_open} of ${of} try it by one call at a time`}>half open</Chip>;
  if (target.cooling > 0) return <Chip tone="warn" tip={`${target.cooling} of ${of} were asked to pause`}>pausing</Chip>;
  return <Chip tone="good" tip={`As ${of} tell`}>closed</Chip>;
}

function Calls({ traffic, window, pending, error }: { traffic: UpstreamTraffic | undefined; window: Window; pending: boolean; error: unknown }) {
  const times = useMemo(() => (traffic?.series ?? []).map((point) => Date.parse(point.at)), [traffic]);
  const series = useMemo(
    () => [
      { name: "answered", values: (traffic?.series ?? []).map((point) => point.calls - point.errors), ink: "accent" as const, kind: "bar" as const, stack: "calls" },
      { name: "failed", values: (traffic?.series ?? []).map((point) => point.errors), ink: "bad" as const, kind: "bar" as const, stack: "calls" },
    ],
    [traffic],
  );
  return (
    <Panel
      title="Calls"
      note={WORDS[window]}
      side={
        <span className={css.legend}>
          <span data-ink="accent">answered</span>
          <span data-ink="bad">failed</span>
        </span>
      }
    >
      {pending ? (
        error === null ? <Loading rows={4} /> : <ErrorState error={error} />
      ) : traffic === undefined ? (
        <p className="dim" style={{ margin: 0 }}>
          No call in this window. Try a model in the playground, and see it here.
        </p>
      ) : (
        <Suspense fallback={<div style={{ height: 180 }} />}>
          <Chart times={times} series={series} format={count} whole label={`Calls, ${WORDS[window]}: ${traffic.calls} in all, ${traffic.errors} failed`} />
        </Suspense>
      )}
    </Panel>
  );
}

function Failures({ project, failures, window }: { project: string; failures: CallFailure[]; window: Window }) {
  return (
    <Panel title="Last failures" note={WORDS[window]} flush>
      {failures.length === 0 ? (
        <p className={css.none}>None.</p>
      ) : (
        <ul className={css.failures}>
          {failures.map((failure) => (
            <li key={`${failure.trace_id} ${failure.at}`}>
              <span className={css.chips}>
                <Chip tone="bad">{failure.error_type || "error"}</Chip>
                {failure.http_status > 0 && <span className="num dim">status {failure.http_status}</span>}
                <span className="dim">
                  <Ago at={failure.at} />
                </span>
                <Link to="/p/$project/traces/$trace" params={{ project, trace: failure.trace_id }} className="link">
                  Trace
                </Link>
              </span>
              <span className="mono">{failure.model}</span>
              {failure.message !== "" && <p>{failure.message}</p>}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Models({ project, provider }: { project: string; provider: Provider }) {
  const routed = useQuery(routedModelsQuery(project));
  const table = useQuery(allPricesQuery(project));
  const now = useNow();
  const admin = useAdmin();
  const named = provider.models.map((model) => routed.data?.find((each) => each.name === `${provider.name}/${model.name}`) ?? { name: `${provider.name}/${model.name}`, kinds: model.kinds, upstream: provider.name, state: "", digest: "", price: null });
  const rows = new Map(priceRows(named, [provider], (table.data ?? []).filter((entry) => entry.model.startsWith(`${provider.name}/`)), now).map((row) => [row.name, row]));
  const known = routed.data !== undefined && table.data !== undefined;
  return (
    <Panel title="Models" note="prices of a million tokens, as gateways count; the rest as it says" flush>
      <Scroll label="Models and prices">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Clients ask for</th>
              <th scope="col">Does</th>
              <th scope="col" className={kit.right}>
                Input
              </th>
              <th scope="col" className={kit.right}>
                Output
              </th>
              <th scope="col">Other charges</th>
              <th scope="col">Price from</th>
            </tr>
          </thead>
          <tbody>
            {provider.models.map((model) => {
              const full = `${provider.name}/${model.name}`;
              const row = rows.get(full);
              const price = row?.price ?? null;
              return (
                <tr key={model.name}>
                  <td className="mono">
                    <span className={css.chips}>
                      {full} <CopyButton value={full} what={full} size="xs" />
                    </span>
                  </td>
                  <td>{model.kinds.join(", ")}</td>
                  <td className={kit.right}>{exactPrice(price?.input, price?.currency)}</td>
                  <td className={kit.right}>{exactPrice(price?.output, price?.currency)}</td>
                  <td>{price === null ? "–" : elseOf(price) || "–"}</td>
                  <td className={css.whole}>
                    <span className={css.chips}>
                      {price === null && known && (
                        <Chip tone="warn" tip="Calls cost an unknown amount; budgets refuse or count them as they are told">
                          unknown price
                        </Chip>
                      )}
                      {row?.source === "provider" ? (
                        row.imported === "" ? "this page" : importWords(row.imported)
                      ) : !known ? (
                        "…"
                      ) : (
                        <Link to="/p/$project/gateway/prices" params={{ project }} search={price === null && admin ? { set: full } : { model: full }} className="link">
                          {price === null ? (admin ? "Set it" : "Why?") : row === undefined ? "" : sourceWords(row)}
                        </Link>
                      )}
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}

const TRIED: Record<string, string> = { chat: "Answers", stream: "Streams", tools: "Calls a tool", count_tokens: "Counts tokens", embeddings: "Embeds a text", models: "Lists its models" };

/** Calls the provider when it is asked to, and tells what of it works. */
function Trial({ project, provider }: { project: string; provider: Provider }) {
  const [model, setModel] = useState<string | null>(null);
  const trial = useMutation({ mutationFn: () => tryProvider(project, provider.name, model ?? "") });
  return (
    <Panel
      title="What works"
      note="a few short calls, made by the control plane; they cost what such calls cost"
      side={
        <span className={css.chips}>
          <Select aria-label="Model to try" placeholder="the first of each kind" data={provider.models.map((each) => each.name)} value={model} onChange={setModel} clearable searchable />
          <Button variant="default" leftSection={<IconPlayerPlay size={14} />} loading={trial.isPending} onClick={() => trial.mutate()}>
            Try it
          </Button>
        </span>
      }
      flush
    >
      {trial.error !== null && (
        <div style={{ padding: 14 }}>
          <Failure error={trial.error} />
        </div>
      )}
      {trial.data === undefined ? (
        trial.error === null && <p className={css.none}>{trial.isPending ? "Asking it…" : "Not tried here yet. It tells whether the key is taken, and whether answers, streams and tools come as they should."}</p>
      ) : trial.data.length === 0 ? (
        <p className={css.none}>There is nothing to try of such models.</p>
      ) : (
        <Scroll label="What works">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">Works</th>
                <th scope="col" className={kit.right}>
                  Took
                </th>
                <th scope="col">What came of it</th>
              </tr>
            </thead>
            <tbody>
              {trial.data.map((check) => (
                <tr key={check.what} data-check={check.what}>
                  <td className={css.when}>{TRIED[check.what] ?? check.what}</td>
                  <td>
                    <Chip tone={check.works ? "good" : "bad"}>{check.works ? "yes" : "no"}</Chip>
                  </td>
                  <td className={kit.right}>{duration(check.seconds * 1000)}</td>
                  <td className={css.text}>{check.detail}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Panel>
  );
}

function About({ provider }: { provider: Provider }) {
  return (
    <Panel title="Set-up">
      <Facts
        items={[
          ["Address", provider.base_url],
          ["Protocol", provider.adapter],
          ["Named on spans", provider.system],
          ["The key is used", provider.auth === "" ? "" : (LOGINS.find((each) => each.value === provider.auth)?.label ?? provider.auth)],
          ["Options", optionTexts(provider.options).join(", ")],
          ["Private address", provider.internal === true ? "allowed" : ""],
          ["Certificates", provider.ca === "" ? "" : "its own"],
          ["Keys", [provider.secret, ...provider.secrets].filter(Boolean).join(", ") || <span className="dim">none</span>],
          ["Calls at once", provider.max_concurrency === 0 ? "no limit" : `${count(provider.max_concurrency)} a worker, ${count(provider.max_queue)} may wait`],
          ["Timeouts", `connect ${provider.connect_timeout_s} s, first byte ${provider.first_byte_timeout_s} s, silence ${provider.idle_timeout_s} s, whole ${provider.total_timeout_s} s`],
          ["Batches", provider.batches === "native" ? "handed over to its own batch API" : provider.batches === "calls" ? "made as calls" : ""],
          ["What it cannot say", provider.translation === "strict" ? "refuses the call" : "is left out and named in the answer"],
        ]}
      />
    </Panel>
  );
}
