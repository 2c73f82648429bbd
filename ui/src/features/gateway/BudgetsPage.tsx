import { ActionIcon, Alert, Button } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconAlertTriangle, IconEdit, IconGauge, IconPigMoney, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { BUDGET_SORTS, budgetAlertsQuery, budgetsQuery, deleteLimit, LIMIT_SORTS, limitsQuery, unpricedQuery, type Budget, type BudgetAlert, type BudgetSort, type Limit, type LimitSort } from "@/api/limits";
import { AskAdmin } from "@/features/session/AskAdmin";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip, type Tone } from "@/kit/Chips";
import { count, money, plural } from "@/kit/format";
import { Confirm } from "@/kit/Forms";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import { nearness, project as projectBudget, type Nearness } from "./burn";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { useKeyNames } from "./keyNames";
import { BudgetForm, LimitForm } from "./RuleForms";
import type { BudgetsSearch } from "./search";
import { accountOf, amountOf, subjectOf, sumOf } from "./words";

const route = getRouteApi("/signed-in/p/$project/gateway/budgets");
export const NEARNESS: Record<Nearness, { tone: Tone; word: string; tip: string }> = {
  over: { tone: "bad", word: "spent", tip: "Nothing is left in this period" },
  near: { tone: "warn", word: "near its end", tip: "At least 80 % is spent" },
  ahead: { tone: "warn", word: "will not last", tip: "Spent as it was so far, it is empty before the period ends" },
  fine: { tone: "good", word: "lasts", tip: "Spent as it was so far, it lasts" },
};

/** What may be spent and how fast, and who is near the end of it. */
export function BudgetsPage() {
  const { project } = route.useParams();
  const { add, sort = "-used", q = "", order = "whom" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const budgets = useInfiniteQuery({ ...budgetsQuery(project, sort), placeholderData: keepPreviousData });
  const limits = useInfiniteQuery({ ...limitsQuery(project, q, order), placeholderData: keepPreviousData });
  const now = useNow();
  const [limit, setLimit] = useState<Limit | null>(null);
  const set = (next: BudgetsSearch): void => void navigate({ search: (old) => withSearch<BudgetsSearch>(old, next), replace: true });
  const open = (what: "budget" | "limit" | undefined): void => set({ add: what });
  const all = budgets.data?.pages.flatMap((page) => page.items) ?? [];
  const rates = limits.data?.pages.flatMap((page) => page.items) ?? [];
  const alerts = useQuery(budgetAlertsQuery(project));
  const names = useKeyNames(project, [...all, ...rates, ...(alerts.data ?? [])].flatMap((each) => ("instance" in each ? [each.instance, each.name] : [each.name])));
  const addBudget = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => open("budget")}>
      Set a budget
    </Button>
  );
  const addLimit = (
    <Button variant="default" leftSection={<IconPlus size={14} />} onClick={() => open("limit")}>
      Set a limit
    </Button>
  );
  return (
    <GatewayPage
      project={project}
      title="Budgets and limits"
      side={
        admin && (
          <>
            {addLimit}
            {addBudget}
          </>
        )
      }
    >
      <Unpriced project={project} />
      <Panel title="Budgets" note="the present period of each account, in UTC" flush>
        {budgets.data === undefined ? (
          budgets.isError ? (
            <ErrorState error={budgets.error} retry={() => void budgets.refetch()} busy={budgets.isFetching} />
          ) : (
            <Loading rows={4} />
          )
        ) : all.length === 0 ? (
          <EmptyState icon={<IconPigMoney size={28} stroke={1.4} color="var(--t-accent)" />} title="No budget is set" more={admin ? <div style={{ textAlign: "center" }}>{addBudget}</div> : <AskAdmin to="set one" />}>
            A budget bounds what a project, a team, a key, an app or a user spends on models in a day, a week or a month. Calls that it does not cover are refused before they are made.
          </EmptyState>
        ) : (
          <>
            <BudgetTable project={project} budgets={all} names={names} now={now} sort={sort} onSort={(next) => set({ sort: next === "-used" ? undefined : BUDGET_SORTS.find((each) => each === next) })} />
            <More has={budgets.hasNextPage} busy={budgets.isFetchingNextPage} load={() => void budgets.fetchNextPage()} what="more budgets" />
          </>
        )}
      </Panel>
      <Panel title="Limits" note="of requests, tokens and calls at once" flush>
        {(rates.length > 0 || q !== "") && (
          <div className={css.filters} role="search">
            <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a limit" placeholder="Key, team, app, user or model" />
          </div>
        )}
        {limits.data === undefined ? (
          limits.isError ? (
            <ErrorState error={limits.error} retry={() => void limits.refetch()} busy={limits.isFetching} />
          ) : (
            <Loading rows={3} />
          )
        ) : rates.length === 0 && q !== "" ? (
          <EmptyState title="No limit is so">Search for another part of whom it concerns, or of what it counts: requests, tokens or calls.</EmptyState>
        ) : rates.length === 0 ? (
          <EmptyState icon={<IconGauge size={28} stroke={1.4} color="var(--t-accent)" />} title="No limit is set" more={admin ? <div style={{ textAlign: "center" }}>{addLimit}</div> : <AskAdmin to="set one" />}>
            A limit bounds how fast somebody may call: what is past it is answered with 429 and the time to wait.
          </EmptyState>
        ) : (
          <>
            <LimitTable project={project} limits={rates} names={names} edit={admin ? setLimit : null} sort={order} onSort={(next) => set({ order: next === "whom" ? undefined : LIMIT_SORTS.find((each) => each === next) })} />
            <More has={limits.hasNextPage} busy={limits.isFetchingNextPage} load={() => void limits.fetchNextPage()} what="more limits" />
          </>
        )}
      </Panel>
      <Alerts project={project} alerts={alerts.data ?? []} names={names} />
      {add !== undefined && (
        <ForAdmins title={add === "budget" ? "Set a budget" : "Set a limit"} to="set one" close={() => open(undefined)}>
          {add === "budget" ? <BudgetForm project={project} close={() => open(undefined)} /> : <LimitForm project={project} close={() => open(undefined)} />}
        </ForAdmins>
      )}
      {limit && <LimitForm project={project} limit={limit} close={() => setLimit(null)} />}
    </GatewayPage>
  );
}

/** Calls that no budget can count, because nobody knows what they cost. */
function Unpriced({ project }: { project: string }) {
  const { data } = useQuery(unpricedQuery(project));
  const admin = useAdmin();
  if (data === undefined || data.length === 0) return null;
  const calls = data.reduce((sum, model) => sum + model.answers_without_cost, 0);
  return (
    <Alert color="yellow" variant="light" icon={<IconAlertTriangle size={18} />} title={`${plural(calls, "call")} of the last 24 hours at an unknown price`}>
      Budgets cannot count them. {admin ? "Give a price to" : "Nobody has given a price to"}{" "}
      {data.slice(0, 8).map((model, i) => {
        return (
          <span key={model.name}>
            {i > 0 && ", "}
            <Link to="/p/$project/gateway/prices" params={{ project }} search={admin ? { set: model.name } : { q: model.name }} className="link mono" style={{ textDecoration: "underline" }}>
              {model.name}
            </Link>
          </span>
        );
      })}
      {data.length > 8 && ` and ${data.length - 8} more`}.
    </Alert>
  );
}

function BudgetTable({ project, budgets, names, now, sort, onSort }: { project: string; budgets: Budget[]; names: ReadonlyMap<string, string>; now: number; sort: BudgetSort; onSort: (sort: string) => void }) {
  const rows = budgets.map((budget) => ({ budget, near: nearness(budget, now), ahead: projectBudget(budget, now) }));
  return (
    <Scroll label="Budgets and how they stand">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Whose</th>
            <th scope="col">Amount</th>
            <th scope="col">State</th>
            <SortHead field="used" sort={sort} onSort={onSort} first="desc">
              Spent
            </SortHead>
            <th scope="col" className={kit.right}>
              At the period's end
            </th>
            <th scope="col">Ends</th>
            <th scope="col">Past it</th>
            <th scope="col" className={kit.right}>
              Unknown cost
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ budget, near, ahead }) => (
            <tr key={`${budget.id} ${budget.instance}`} data-budget={accountOf(budget, names)}>
              <td className={css.whom}>
                <Link to="/p/$project/gateway/budgets/$budget" params={{ project, budget: budget.id }} search={budget.instance === "" ? {} : { of: budget.instance }} className="link" style={{ fontWeight: 500 }}>
                  {accountOf(budget, names)}
                </Link>
              </td>
              <td className="num" style={{ whiteSpace: "nowrap" }}>
                {sumOf(budget)}
              </td>
              <td>
                <Chip tone={NEARNESS[near].tone} tip={NEARNESS[near].tip}>
                  {NEARNESS[near].word}
                </Chip>
              </td>
              <td>
                <Burn budget={budget} near={near} />
              </td>
              <td className={kit.right}>{ahead.atEnd === null ? "–" : money(ahead.atEnd.toFixed(6), budget.currency)}</td>
              <td className={css.when}>{budget.ends_at === null ? <span className="dim">never</span> : <Ago at={budget.ends_at} />}</td>
              <td>{budget.hard ? "refused" : "alerted"}</td>
              <td className={kit.right}>{budget.unknown_calls === 0 ? <span className="dim">none</span> : <Chip tone="warn">{plural(budget.unknown_calls, "call")}</Chip>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Burn({ budget, near }: { budget: Budget; near: Nearness }) {
  const used = (Number(budget.spent) + Number(budget.uncertain)).toFixed(12);
  return (
    <div className={css.burn}>
      <span className="num">
        {money(used, budget.currency)} <span className="dim">{Number(budget.used_percent.toPrecision(3))} %</span>
      </span>
      <div className={css.bar} aria-hidden="true">
        <span data-tone={near === "over" ? "bad" : near === "fine" ? undefined : "warn"} style={{ width: `${Math.min(100, budget.used_percent)}%` }} />
      </div>
    </div>
  );
}

function LimitTable({ project, limits, names, edit, sort, onSort }: { project: string; limits: Limit[]; names: ReadonlyMap<string, string>; edit: ((limit: Limit) => void) | null; sort: LimitSort; onSort: (sort: string) => void }) {
  const queries = useQueryClient();
  const [going, setGoing] = useState<Limit | null>(null);
  const remove = useMutation({
    mutationFn: (limit: Limit) => deleteLimit(project, limit.id),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["limits", project] });
      setGoing(null);
    },
  });
  return (
    <>
      <Scroll label="Limits">
        <table className={kit.table}>
          <thead>
            <tr>
              <SortHead field="whom" sort={sort} onSort={onSort}>
                Whom
              </SortHead>
              <SortHead field="amount" sort={sort} onSort={onSort}>
                At most
              </SortHead>
              <th scope="col">Past it</th>
              <SortHead field="changed" sort={sort} onSort={onSort} first="desc">
                Changed
              </SortHead>
              {edit && (
                <th scope="col">
                  <span className="unseen">Actions</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {limits.map((limit) => {
              const whom = subjectOf(limit, names);
              return (
                <tr key={limit.id}>
                  <td className={css.whom} style={{ fontWeight: 500 }}>
                    {whom}
                  </td>
                  <td className={`num ${css.when}`}>{amountOf(limit)}</td>
                  <td>{limit.hard ? "refused" : "counted"}</td>
                  <td className={css.when}>
                    <Ago at={limit.changed_at} />
                  </td>
                  {edit && (
                    <td style={{ textAlign: "right" }}>
                      <span className={css.states}>
                        <ActionIcon aria-label={`Change the limit of ${whom}: ${amountOf(limit)}`} onClick={() => edit(limit)}>
                          <IconEdit size={15} />
                        </ActionIcon>
                        <ActionIcon aria-label={`Remove the limit of ${whom}: ${amountOf(limit)}`} onClick={() => setGoing(limit)}>
                          <IconTrash size={15} />
                        </ActionIcon>
                      </span>
                    </td>
                  )}
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
      {going && (
        <Confirm title="Remove the limit?" act="Remove limit" error={remove.error} busy={remove.isPending} close={() => setGoing(null)} confirm={() => remove.mutate(going)}>
          {subjectOf(going, names)}: {amountOf(going)}. Gateways stop counting it within a second.
        </Confirm>
      )}
    </>
  );
}

function Alerts({ project, alerts, names }: { project: string; alerts: BudgetAlert[]; names: ReadonlyMap<string, string> }) {
  if (alerts.length === 0) return null;
  return (
    <Panel title="Alerts" note={`budgets that went past a threshold, the newest ${count(alerts.length)}`} flush>
      <Scroll label="Alerts of budgets">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Budget</th>
              <th scope="col">Period</th>
              <th scope="col" className={kit.right}>
                Threshold
              </th>
              <th scope="col" className={kit.right}>
                Spent
              </th>
            </tr>
          </thead>
          <tbody>
            {alerts.map((alert) => (
              <tr key={`${alert.budget} ${alert.instance} ${alert.period_name} ${alert.threshold}`}>
                <td className={css.when}>
                  <Ago at={alert.at} />
                </td>
                <td className={css.whom}>
                  <Link to="/p/$project/gateway/budgets/$budget" params={{ project, budget: alert.budget }} search={{ ...(alert.instance === "" ? {} : { of: alert.instance }), period: alert.period_name }} className="link">
                    {accountOf(alert, names)}
                  </Link>
                </td>
                <td className={`num ${css.when}`}>{alert.period_name}</td>
                <td className={kit.right}>{alert.threshold} %</td>
                <td className={kit.right}>{money(alert.spent, alert.currency)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}
