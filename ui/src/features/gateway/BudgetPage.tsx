import { Select } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import { budgetAlertsQuery, budgetQuery, deleteBudget, type Budget } from "@/api/limits";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { Crumbs } from "@/kit/Crumbs";
import { count, fullTime, money, plural } from "@/kit/format";
import { ChangeAndRemove, Confirm } from "@/kit/Forms";
import kit from "@/kit/kit.module.css";
import { More } from "@/kit/Lists";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import { NEARNESS } from "./BudgetsPage";
import { burnDown, nearness, project as projectBudget } from "./burn";
import css from "./gateway.module.css";
import { useKeyNames } from "./keyNames";
import { BudgetForm } from "./RuleForms";
import type { BudgetSearch } from "./search";
import { accountOf, subjectOf, sumOf } from "./words";

const Plot = lazy(() => import("@/kit/Plot"));
const route = getRouteApi("/signed-in/p/$project/gateway/budgets/$budget");

/** One budget: how it burns down, what it will come to, and its earlier periods. */
export function BudgetPage() {
  const { project, budget: id } = route.useParams();
  const { of, period } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const queries = useQueryClient();
  const query = useInfiniteQuery(budgetQuery(project, id));
  const [act, setAct] = useState<"change" | "remove" | null>(null);
  const set = (next: BudgetSearch): void => void navigate({ search: (old) => withSearch<BudgetSearch>(old, next), replace: true });
  const states = query.data?.pages.flatMap((page) => page.items) ?? [];
  const first = states[0];
  const instances = [...new Set(states.map((state) => state.instance))];
  const names = useKeyNames(project, [...instances, first?.name ?? ""]);
  const instance = of !== undefined && instances.includes(of) ? of : (first?.instance ?? "");
  const mine = states.filter((state) => state.instance === instance);
  const shown = mine.find((state) => state.period_name === period) ?? mine[0];
  const remove = useMutation({
    mutationFn: () => deleteBudget(project, id),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["budgets", project, "list"] });
      void navigate({ to: "/p/$project/gateway/budgets", params: { project } });
    },
  });
  const title = first ? `Budget of ${subjectOf(first, names)}` : "Budget";
  return (
    <Page
      title={title}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/gateway/budgets" params={{ project }} className="link">
              Budgets and limits
            </Link>,
          ]}
        >
          {title}
        </Crumbs>
      }
      side={
        first && (
          <>
            {instances.length > 1 && <Select aria-label="Whose account" data={instances.map((each) => ({ value: each, label: accountOf({ ...first, instance: each }, names) }))} value={instance} onChange={(value) => value !== null && set({ of: value, period: undefined })} allowDeselect={false} searchable />}
            {admin && <ChangeAndRemove change={() => setAct("change")} remove={() => setAct("remove")} />}
          </>
        )
      }
    >
      {shown === undefined ? (
        <Panel label="Budget">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={8} />}</Panel>
      ) : (
        <>
          <Standing budget={shown} />
          <div className={css.columns}>
            <BurnDown budget={shown} />
            <About budget={shown} project={project} names={names} />
          </div>
          <Panel title="Periods" note="the newest first, in UTC" flush>
            <Periods states={mine} shown={shown} choose={(name) => set({ period: name === mine[0]?.period_name ? undefined : name })} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older periods" />
          </Panel>
        </>
      )}
      {act === "change" && first && <BudgetForm project={project} budget={first} close={() => setAct(null)} />}
      {act === "remove" && first && (
        <Confirm title="Remove the budget?" act="Remove budget" error={remove.error} busy={remove.isPending} close={() => setAct(null)} confirm={() => remove.mutate()}>
          {sumOf(first)} for {subjectOf(first, names)} is no longer counted, and what was spent of it is forgotten. What calls cost stays on their traces.
        </Confirm>
      )}
    </Page>
  );
}

/** Whether the state is of a period that is over: only the present one has an end. */
function isOver(budget: Budget): boolean {
  return budget.period !== "total" && budget.ends_at === null;
}

function Standing({ budget }: { budget: Budget }) {
  const now = useNow();
  const over = isOver(budget);
  const { rate, atEnd, emptyAt } = projectBudget(budget, now);
  const sum = (value: number): string => money(value.toFixed(9), budget.currency);
  const used = Number(budget.spent) + Number(budget.uncertain);
  const tiles: { label: string; value: string; note: string; bad?: boolean }[] = [
    { label: "Spent", value: sum(used), note: `${Number(budget.used_percent.toPrecision(3))} % of ${sumOf(budget)}`, bad: budget.used_percent >= 100 },
    { label: "Left", value: money(budget.remaining, budget.currency), note: Number(budget.held) > 0 ? `${money(budget.held, budget.currency)} of it held by gateways` : "nothing held by gateways" },
    ...(over
      ? []
      : [
          { label: "Rate", value: sum(rate * 24), note: "a day, mean of the period so far" },
          ...(atEnd === null ? [] : [{ label: "At the period's end", value: sum(atEnd), note: "if it goes on like that", bad: atEnd > Number(budget.amount) }]),
          { label: "Empty", value: emptyAt === null ? "not before" : new Date(emptyAt).toLocaleDateString("en-GB", { day: "numeric", month: "short" }), note: emptyAt === null ? (budget.ends_at === null ? "nothing is spent" : "the period ends") : fullTime(emptyAt), bad: emptyAt !== null },
        ]),
    { label: "Unknown cost", value: plural(budget.unknown_calls, "call"), note: budget.unknown === "refuse" ? "others were refused" : "made, and in no sum", bad: budget.unknown_calls > 0 },
  ];
  return (
    <dl className={css.tiles} style={{ margin: 0 }} aria-label="How it stands">
      {tiles.map((tile) => (
        <div key={tile.label} className={css.tile}>
          <dt>{tile.label}</dt>
          <dd data-tone={tile.bad ? "bad" : undefined}>
            {tile.value}
            <div className={css.tileNote}>{tile.note}</div>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function About({ budget, project, names }: { budget: Budget; project: string; names: ReadonlyMap<string, string> }) {
  const now = useNow();
  const alerts = useQuery(budgetAlertsQuery(project));
  const over = isOver(budget);
  const near = nearness(budget, now);
  const told = (alerts.data ?? []).filter((alert) => alert.budget === budget.id && alert.instance === budget.instance && alert.period_name === budget.period_name).map((alert) => alert.threshold);
  return (
    <Panel title="About it">
      <Facts
        items={[
          ["Whose", accountOf(budget, names)],
          ["Period", `${budget.period_name}${over ? ", over" : ""}`],
          ["State", over ? "" : <Chip key="s" tone={NEARNESS[near].tone} tip={NEARNESS[near].tip}>{NEARNESS[near].word}</Chip>],
          ["Ends", budget.ends_at === null ? "" : <Ago key="e" at={budget.ends_at} />],
          ["Past it", budget.hard ? "calls are refused" : "it only alerts"],
          ["Alerts at", `${budget.alert_at.join(", ")} %${told.length > 0 ? `; told in this period: ${told.sort((a, b) => a - b).join(", ")} %` : ""}`],
          ["Cut off", Number(budget.uncertain) > 0 ? `${money(budget.uncertain, budget.currency)} is estimated, of calls that ended with their gateway` : ""],
        ]}
      />
    </Panel>
  );
}

function BurnDown({ budget }: { budget: Budget }) {
  const now = useNow(30_000);
  const over = isOver(budget);
  const { lines, label } = useMemo(() => {
    const { left, ahead } = burnDown(budget, now, over);
    const last = ahead.at(-1)?.[1];
    return {
      lines: [
        { name: "left", ink: "accent", kind: "area" as const, points: left },
        ...(ahead.length > 0 ? [{ name: "projected", ink: "neutral", kind: "line" as const, dashed: true, points: ahead }] : []),
      ],
      label: `What is left of ${sumOf(budget)}: ${money(budget.remaining, budget.currency)} now${last === undefined ? "" : `, ${money(last.toFixed(6), budget.currency)} projected at the end`}`,
    };
  }, [budget, now, over]);
  const format = useMemo(() => (value: number | null) => money(value === null ? null : String(value), budget.currency).replace(/(\.\d\d\d*?)0+$/, "$1"), [budget.currency]);
  return (
    <Panel
      title="Burn-down"
      note={`${budget.currency} left, hour by hour; ${over ? "the period is over" : "projected by the mean so far"}`}
      side={
        <span className={css.legend}>
          <span data-ink="accent">left</span>
          {!over && <span>projected</span>}
        </span>
      }
    >
      <Suspense fallback={<div style={{ height: 240 }} />}>
        <Plot axis="time" lines={lines} format={format} height={240} label={label} />
      </Suspense>
    </Panel>
  );
}

function Periods({ states, shown, choose }: { states: Budget[]; shown: Budget; choose: (period: string) => void }) {
  return (
    <Scroll label="Periods of this account">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Period</th>
            <th scope="col" className={kit.right}>
              Spent
            </th>
            <th scope="col" className={kit.right}>
              Of the amount
            </th>
            <th scope="col" className={kit.right}>
              Calls of unknown cost
            </th>
          </tr>
        </thead>
        <tbody>
          {states.map((state) => (
            <tr key={state.period_name}>
              <td>
                <button type="button" className={css.plain} aria-pressed={state === shown} style={{ fontWeight: state === shown ? 600 : 400, whiteSpace: "nowrap" }} onClick={() => choose(state.period_name)}>
                  {state.period_name}
                </button>
              </td>
              <td className={kit.right}>{money((Number(state.spent) + Number(state.uncertain)).toFixed(9), state.currency)}</td>
              <td className={kit.right}>{Number(state.used_percent.toPrecision(3))} %</td>
              <td className={kit.right}>{count(state.unknown_calls)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
