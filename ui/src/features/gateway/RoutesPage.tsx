import { ActionIcon, Button, Select } from "@mantine/core";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconArrowFork, IconEdit, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { deleteRoute, ROUTE_SORTS, routedModelsQuery, routeHealthQuery, routesQuery, type ModelRoute, type RouteSort, type RouteTarget, type TargetHealth } from "@/api/gateway";
import { AskAdmin } from "@/features/session/AskAdmin";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { count, duration, plural } from "@/kit/format";
import { Confirm } from "@/kit/Forms";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { SearchBox } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { Breaker } from "./ProviderPage";
import { AFFINITIES, conditionOf, FALLBACKS, STRATEGIES } from "./routeForm";
import { RouteForm } from "./RouteForm";
import type { RoutesSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/routes");
const SORT_WORDS: Record<RouteSort, string> = { name: "by name", "-name": "by name, Z first", strategy: "by how calls go", "-strategy": "by how calls go, reversed", targets: "fewest targets first", "-targets": "most targets first" };

/** Names for several models, and what happens where one of them does not answer. */
export function RoutesPage() {
  const { project } = route.useParams();
  const { add, edit, q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const query = useQuery(routesQuery(project));
  const found = useQuery({ ...routesQuery(project, q, sort), placeholderData: keepPreviousData });
  const health = useQuery(routeHealthQuery(project));
  const models = useQuery(routedModelsQuery(project));
  const [going, setGoing] = useState<ModelRoute | null>(null);
  const queries = useQueryClient();
  const set = (next: RoutesSearch): void => void navigate({ search: (old) => withSearch<RoutesSearch>(old, next), replace: true });
  const close = (): void => set({ add: undefined, edit: undefined });
  const remove = useMutation({
    mutationFn: (one: ModelRoute) => deleteRoute(project, one.name),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["model-routes", project] });
      setGoing(null);
    },
  });
  const routes = query.data ?? [];
  const editing = edit === undefined ? undefined : routes.find((each) => each.name === edit);
  const names = routes.flatMap((each) => [each.name, ...each.aliases]);
  const known = models.data && new Set(models.data.map((model) => model.name));
  const button = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => set({ add: "1", edit: undefined })}>
      Add route
    </Button>
  );
  return (
    <GatewayPage project={project} title="Routes" side={admin && routes.length > 0 ? button : undefined}>
      {query.data === undefined ? (
        <Panel label="Routes">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>
      ) : routes.length === 0 ? (
        <Panel label="Routes">
          <EmptyState icon={<IconArrowFork size={28} stroke={1.4} color="var(--t-accent)" />} title="No route in this project" more={admin ? <div style={{ textAlign: "center" }}>{button}</div> : <AskAdmin to="make one" />}>
            A route is one name for several models: calls are spread over them, go elsewhere by their labels, and fall back where a model fails. Clients and releases name it like a model.
          </EmptyState>
        </Panel>
      ) : (
        <>
          <div className={`${css.filters} ${css.loose}`} role="search">
            <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a route" placeholder="Name, alias or model" />
            <Select aria-label="Order of routes" data={ROUTE_SORTS.map((value) => ({ value, label: SORT_WORDS[value] }))} value={sort} onChange={(next) => set({ sort: next === "name" ? undefined : ROUTE_SORTS.find((each) => each === next) })} allowDeselect={false} w={220} />
          </div>
          {found.isError && <ErrorState error={found.error} retry={() => void found.refetch()} busy={found.isFetching} />}
          {found.data?.length === 0 && <EmptyState title="No route is so">Search for another part of its name, an alias or a model of it.</EmptyState>}
          {(found.data ?? []).map((each) => (
            <Route
              key={each.name}
              project={project}
              route={each}
              health={(health.data ?? []).filter((target) => target.route === each.name)}
              known={known}
              edit={admin ? () => set({ add: undefined, edit: each.name }) : undefined}
              remove={admin ? () => setGoing(each) : undefined}
            />
          ))}
        </>
      )}
      {add === "1" && (
        <ForAdmins title="Add a route" to="make one" close={close}>
          <RouteForm project={project} taken={names} close={close} />
        </ForAdmins>
      )}
      {editing && (
        <ForAdmins title={`Change ${editing.name}`} to="change it" close={close}>
          <RouteForm key={editing.name} project={project} route={editing} taken={[]} close={close} />
        </ForAdmins>
      )}
      {going && (
        <Confirm title={`Remove the route ${going.name}?`} act="Remove route" error={remove.error} busy={remove.isPending} close={() => setGoing(null)} confirm={() => remove.mutate(going)}>
          Whoever asks for {[going.name, ...going.aliases].join(", ")} is told that there is no such model, unless one has that name. Calls under way end as they would have.
        </Confirm>
      )}
    </GatewayPage>
  );
}

function Route({ project, route: { name, aliases, strategy, affinity, targets, fallbacks, max_attempts, retry, hedge }, health, known, edit, remove }: { project: string; route: ModelRoute; health: TargetHealth[]; known: ReadonlySet<string> | undefined; edit: (() => void) | undefined; remove: (() => void) | undefined }) {
  const weighted = strategy === "weighted" || strategy === "least-busy";
  const total = targets.reduce((sum, target) => sum + target.weight, 0);
  const notes = [`calls go ${STRATEGIES.find((one) => one.value === strategy)?.label ?? strategy}`, ...(affinity === "none" ? [] : [`${AFFINITIES.find((one) => one.value === affinity)?.label ?? affinity} stays with its model`]), `${plural(max_attempts, "attempt")} at most`, plural(retry.retries, "retry", "retries"), ...(hedge.enabled ? ["hedged"] : [])];
  return (
    <Panel
      title={
        <span className={css.chips}>
          <span className="mono">{name}</span>
          {aliases.map((alias) => (
            <Chip key={alias} tip="Another name of the route">
              {alias}
            </Chip>
          ))}
        </span>
      }
      label={`Route ${name}`}
      note={notes.join(", ")}
      side={
        <span className={css.chips}>
          <LinkButton to="/p/$project/playground" params={{ project }} search={{ with: name }} variant="default" size="compact-xs">
            Try it
          </LinkButton>
          {edit && (
            <ActionIcon aria-label={`Change the route ${name}`} onClick={edit}>
              <IconEdit size={15} />
            </ActionIcon>
          )}
          {remove && (
            <ActionIcon aria-label={`Remove the route ${name}`} onClick={remove}>
              <IconTrash size={15} />
            </ActionIcon>
          )}
        </span>
      }
      flush
    >
      <Scroll label={`Targets of ${name}`}>
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col">When</th>
              <th scope="col" className={kit.right}>
                {weighted ? "Share" : "Priority"}
              </th>
              <th scope="col">Breaker</th>
              <th scope="col" className={kit.right}>
                First token
              </th>
              <th scope="col">Calls, since workers began</th>
            </tr>
          </thead>
          <tbody>
            {targets.map((target) => (
              <TargetRow key={target.model} target={target} when={conditionOf(target) || "any call"} share={weighted ? (total === 0 ? "–" : `${Number(((target.weight / total) * 100).toPrecision(3))} %`) : count(target.priority)} health={health.find((each) => each.model === target.model)} missing={known !== undefined && !known.has(target.model)} />
            ))}
            {FALLBACKS.flatMap(({ kind, label }) =>
              fallbacks[kind].map((target) => <TargetRow key={`${kind} ${target.model}`} target={target} when={`fallback: ${label.charAt(0).toLowerCase()}${label.slice(1)}`} share="" health={health.find((each) => each.model === target.model)} missing={known !== undefined && !known.has(target.model)} />),
            )}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}

function TargetRow({ target, when, share, health, missing }: { target: RouteTarget; when: string; share: string; health: TargetHealth | undefined; missing: boolean }) {
  const outcomes = Object.entries(health?.outcomes ?? {}).sort((a, b) => b[1] - a[1]);
  return (
    <tr>
      <td className={`mono ${css.named}`}>
        <span className={css.chips}>
          {target.model}
          {missing && (
            <Chip tone="warn" tip="No provider or engine has this model now: the route passes it over">
              not there
            </Chip>
          )}
        </span>
      </td>
      <td className={css.text}>{when}</td>
      <td className={kit.right}>{share}</td>
      <td>{health ? <Breaker target={health} /> : <span className={`dim ${css.whole}`}>not called</span>}</td>
      <td className={kit.right}>{health && health.first_token_s !== null ? duration(health.first_token_s * 1000) : "–"}</td>
      <td>{outcomes.length === 0 ? <span className="dim">none</span> : outcomes.map(([kind, n]) => `${count(n)} ${kind.replaceAll("_", " ")}`).join(", ")}</td>
    </tr>
  );
}
