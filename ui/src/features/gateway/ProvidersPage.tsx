import { Button } from "@mantine/core";
import { keepPreviousData, useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconPlus, IconServerBolt } from "@tabler/icons-react";
import { presetsQuery, PROVIDER_SORTS, providerHealthQuery, providersQuery, routeHealthQuery, trafficQuery, type Provider, type TargetHealth, type UpstreamTraffic } from "@/api/gateway";
import { AskAdmin } from "@/features/session/AskAdmin";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { count, duration, percent, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { tellsHealth, verdict } from "./health";
import { PresetDrawer } from "./PresetDrawer";
import { ProviderForm } from "./ProviderForm";
import { OTHER, type ProvidersSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/providers");

/** The providers of a project and how they do now. */
export function ProvidersPage() {
  const { project } = route.useParams();
  const { add, q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const query = useQuery(providersQuery(project));
  const found = useQuery({ ...providersQuery(project, q, sort), placeholderData: keepPreviousData });
  const traffic = useQuery(trafficQuery(project));
  const targets = useQuery(routeHealthQuery(project));
  const presets = useQuery({ ...presetsQuery, enabled: admin && add !== undefined });
  const preset = presets.data?.find((each) => each.name === add);
  // Without the list there is still the form of any provider.
  const plain = add === OTHER || (presets.isError && add !== undefined);
  const set = (next: ProvidersSearch): void => void navigate({ search: (old) => withSearch<ProvidersSearch>(old, next), replace: true });
  const open = (add?: string): void => set({ add });
  const button = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => open("1")}>
      Add provider
    </Button>
  );
  const known = new Set(query.data?.map((provider) => provider.name));
  const engines = (traffic.data?.items ?? []).filter((each) => !known.has(each.name));
  return (
    <GatewayPage project={project} title="Providers" side={admin && query.data && query.data.length > 0 ? button : undefined}>
      <Panel title="Providers" note="calls of the last 15 minutes, from their spans" flush>
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : query.data.length === 0 ? (
          <EmptyState
            icon={<IconServerBolt size={28} stroke={1.4} color="var(--t-accent)" />}
            title="No provider in this project"
            more={admin ? <div style={{ textAlign: "center" }}>{button}</div> : <AskAdmin to="add one" />}
          >
            A provider is a remote API that answers: OpenAI, Anthropic, or anything that speaks their protocols. Its models can be called, routed and pinned by releases.
          </EmptyState>
        ) : (
          <>
            <div className={css.filters} role="search">
              <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a provider" placeholder="Name, address or model" />
            </div>
            {found.isError ? (
              <ErrorState error={found.error} retry={() => void found.refetch()} busy={found.isFetching} />
            ) : found.data?.length === 0 ? (
              <EmptyState title="No provider is so">Search for another part of its name, its address or a model of it.</EmptyState>
            ) : (
              <Providers project={project} providers={found.data ?? []} traffic={traffic.data?.items ?? []} targets={targets.data ?? []} sort={sort} onSort={(next) => set({ sort: next === "name" ? undefined : PROVIDER_SORTS.find((each) => each === next) })} />
            )}
          </>
        )}
        {query.data && traffic.isError && <p className={css.none}>How they do is not known: {traffic.error.message}</p>}
      </Panel>
      {engines.length > 0 && (
        <Panel title="Others that answered" note="engines of this installation, and providers that are gone; last 15 minutes" flush>
          <Scroll label="Engines and former providers">
            <table className={kit.table}>
              <Head first="Name" />
              <tbody>
                {engines.map((each) => (
                  <tr key={each.name}>
                    <td>{each.name}</td>
                    <State name={each.name} traffic={each} targets={targets.data ?? []} />
                    <td className="dim">–</td>
                    <Numbers traffic={each} />
                    <LastFailure project={project} traffic={each} />
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </Panel>
      )}
      {add !== undefined && query.data && (
        <ForAdmins title="Add a provider" to="add one" close={() => open()}>
          {!plain && preset === undefined && <PresetDrawer presets={presets.data} close={() => open()} choose={open} />}
          {(plain || preset) && (
            <ProviderForm
              key={add}
              project={project}
              preset={preset}
              taken={[...known]}
              back={() => open("1")}
              close={() => open()}
              done={(saved) => void navigate({ to: "/p/$project/gateway/providers/$provider", params: { project, provider: saved.name } })}
            />
          )}
        </ForAdmins>
      )}
    </GatewayPage>
  );
}

function Head({ first, sort, onSort }: { first: string; sort?: string; onSort?: (sort: string) => void }) {
  return (
    <thead>
      <tr>
        {sort !== undefined && onSort ? (
          <SortHead field="name" sort={sort} onSort={onSort}>
            {first}
          </SortHead>
        ) : (
          <th scope="col">{first}</th>
        )}
        <th scope="col">State</th>
        {sort !== undefined && onSort ? (
          <SortHead field="models" sort={sort} onSort={onSort} first="desc">
            Models
          </SortHead>
        ) : (
          <th scope="col">Models</th>
        )}
        <th scope="col" className={kit.right}>
          Calls a minute
        </th>
        <th scope="col" className={kit.right}>
          Errors
        </th>
        <th scope="col" className={kit.right}>
          Latency, p50
        </th>
        <th scope="col" className={kit.right}>
          p95
        </th>
        <th scope="col">Last failure</th>
      </tr>
    </thead>
  );
}

function Providers({ project, providers, traffic, targets, sort, onSort }: { project: string; providers: Provider[]; traffic: UpstreamTraffic[]; targets: TargetHealth[]; sort: string; onSort: (sort: string) => void }) {
  const telling = providers.filter(tellsHealth);
  const health = useQueries({ queries: telling.map((provider) => providerHealthQuery(project, provider.name)) });
  return (
    <Scroll label="Providers and how they do">
      <table className={kit.table}>
        <Head first="Provider" sort={sort} onSort={onSort} />
        <tbody>
          {providers.map((provider) => {
            const mine = traffic.find((each) => each.name === provider.name);
            const keys = health[telling.indexOf(provider)]?.data;
            return (
              <tr key={provider.name} data-provider={provider.name}>
                <td className={css.named}>
                  <Link to="/p/$project/gateway/providers/$provider" params={{ project, provider: provider.name }} className="link" style={{ fontWeight: 500 }}>
                    {provider.name}
                  </Link>{" "}
                  <span className="dim">{provider.adapter}</span>
                </td>
                <State name={provider.name} traffic={mine} targets={targets} {...(keys ? { keys } : {})} />
                <td className={`num ${css.whole}`} title={provider.models.map((model) => model.name).join(", ")}>
                  {plural(provider.models.length, "model")}
                </td>
                <Numbers traffic={mine} />
                <LastFailure project={project} traffic={mine} />
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

function State(given: { name: string; traffic: UpstreamTraffic | undefined; targets: TargetHealth[]; keys?: Parameters<typeof verdict>[3] }) {
  const { tone, word, why } = verdict(given.name, given.traffic, given.targets, given.keys);
  return (
    <td>
      <Chip tone={tone} tip={why}>
        {word}
      </Chip>
    </td>
  );
}

function Numbers({ traffic }: { traffic: UpstreamTraffic | undefined }) {
  return (
    <>
      <td className={kit.right}>{traffic === undefined ? "0" : perMinute(traffic.calls_per_minute)}</td>
      <td className={kit.right} title={traffic ? `${count(traffic.errors)} of ${count(traffic.calls - traffic.cancelled)} calls; ${count(traffic.cancelled)} given up by clients` : ""}>
        {percent(traffic?.error_rate)}
      </td>
      <td className={kit.right}>{duration(traffic?.latency_p50_ms)}</td>
      <td className={kit.right}>{duration(traffic?.latency_p95_ms)}</td>
    </>
  );
}

/** `0.067` → `0.07`: few digits are enough to compare by. */
function perMinute(calls: number): string {
  return calls >= 10 ? count(calls) : String(Number(calls.toPrecision(2)));
}

function LastFailure({ project, traffic }: { project: string; traffic: UpstreamTraffic | undefined }) {
  const last = traffic?.failures[0];
  if (last === undefined) return <td className="dim">none</td>;
  return (
    <td className={css.when}>
      <Link to="/p/$project/traces/$trace" params={{ project, trace: last.trace_id }} className="link" title={last.message}>
        {last.error_type || `status ${last.http_status}`}
      </Link>{" "}
      <span className="dim">
        <Ago at={last.at} />
      </span>
    </td>
  );
}
