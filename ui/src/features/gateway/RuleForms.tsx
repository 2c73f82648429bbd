import { Autocomplete, Modal, NumberInput, Select, Switch, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { appsQuery } from "@/api/apps";
import { routedModelsQuery } from "@/api/gateway";
import { putBudget, putLimit, teamsQuery, type Budget, type BudgetBody, type Limit, type LimitBody } from "@/api/limits";
import { Form } from "@/kit/Forms";
import css from "./gateway.module.css";
import { KeySelect } from "./KeySelect";
import { PERIODS, SUBJECTS } from "./words";

type Whom = Pick<LimitBody, "subject" | "name">;
const DECIMAL = /^\d{1,15}(\.\d{1,12})?$/;

/** Whom a rule concerns: each of a kind, or one of them. Keys are chosen by name and named by id. */
function Subject({ project, whom, set, fixed }: { project: string; whom: Whom; set: (whom: Whom) => void; fixed: boolean }) {
  const teams = useQuery({ ...teamsQuery(project), enabled: whom.subject === "team" });
  const apps = useQuery({ ...appsQuery(project), enabled: whom.subject === "app" });
  const models = useQuery({ ...routedModelsQuery(project), enabled: whom.subject === "model" });
  const names = whom.subject === "team" ? (teams.data ?? []).map((team) => team.name) : whom.subject === "app" ? (apps.data ?? []).map((app) => app.name) : (models.data ?? []).map((model) => model.name);
  const each = SUBJECTS.find((subject) => subject.value === whom.subject)?.each ?? "each";
  return (
    <div className={css.pair}>
      <Select
        label="Whom"
        data={SUBJECTS.map(({ value, label }) => ({ value, label }))}
        value={whom.subject}
        onChange={(subject) => set({ subject: SUBJECTS.find((one) => one.value === subject)?.value ?? "project", name: "*" })}
        allowDeselect={false}
        disabled={fixed}
      />
      {whom.subject === "project" ? null : whom.subject === "key" ? (
        <KeySelect project={project} label="Which" first={[{ value: "*", label: each }]} value={whom.name} onChange={(name) => name !== "" && set({ ...whom, name })} allowDeselect={false} disabled={fixed} />
      ) : (
        <Autocomplete size="xs" label="Which" placeholder={each} data={names} value={whom.name === "*" ? "" : whom.name} onChange={(name) => set({ ...whom, name: name.trim() === "" ? "*" : name.trim() })} maxLength={256} disabled={fixed} />
      )}
    </div>
  );
}

const NEW_BUDGET: BudgetBody = { subject: "project", name: "*", amount: "", currency: "USD", period: "month", hard: true, unknown: "refuse", alert_at: [50, 80, 100] };

/** Sets what a subject may spend, or changes it. */
export function BudgetForm({ project, budget, close }: { project: string; budget?: Budget; close: () => void }) {
  const [draft, setDraft] = useState<BudgetBody>(budget ? { subject: budget.subject, name: budget.name, amount: budget.amount, currency: budget.currency, period: budget.period, hard: budget.hard, unknown: budget.unknown, alert_at: budget.alert_at } : NEW_BUDGET);
  const [asked, setAsked] = useState(false);
  const queries = useQueryClient();
  const set = (change: Partial<BudgetBody>): void => setDraft((before) => ({ ...before, ...change }));
  const problems = {
    amount: DECIMAL.test(draft.amount.trim()) ? undefined : "A number such as 12.50",
    currency: /^[A-Z]{3}$/.test(draft.currency) ? undefined : "Such as USD",
    alert_at: draft.alert_at.every((each) => Number.isInteger(each) && each >= 1 && each <= 1000) && draft.alert_at.length <= 10 ? undefined : "Up to ten whole numbers, 1 to 1000",
  };
  const wrong = Object.values(problems).some((problem) => problem !== undefined);
  const save = useMutation({
    mutationFn: () => putBudget(project, { ...draft, amount: draft.amount.trim() }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["budgets", project] });
      close();
    },
  });
  return (
    <Modal opened onClose={close} title={budget ? "Change the budget" : "Set a budget"} size="lg">
      <Form
        act={budget ? "Save" : "Set the budget"}
        submit={() => {
          setAsked(true);
          if (!wrong) save.mutate();
        }}
        close={close}
        busy={save.isPending}
        error={save.error}
      >
        <Subject project={project} whom={draft} set={set} fixed={budget !== undefined} />
        <div className={css.triple}>
          <TextInput label="Amount" value={draft.amount} inputMode="decimal" onChange={(event) => set({ amount: event.currentTarget.value })} error={asked ? problems.amount : undefined} required data-autofocus />
          <TextInput label="Currency" value={draft.currency} maxLength={3} onChange={(event) => set({ currency: event.currentTarget.value.toUpperCase() })} error={asked ? problems.currency : undefined} />
          <Select label="Period" description="In UTC" inputWrapperOrder={["label", "input", "description", "error"]} data={PERIODS} value={draft.period} onChange={(period) => set({ period: PERIODS.find((one) => one.value === period)?.value ?? "month" })} allowDeselect={false} disabled={budget !== undefined} />
        </div>
        <Switch size="xs" label="Refuse calls that it does not cover" description="Otherwise it only alerts" checked={draft.hard} onChange={(event) => set({ hard: event.currentTarget.checked })} />
        <Select
          label="Calls whose price is not known"
          data={[
            { value: "refuse", label: "are refused" },
            { value: "count", label: "are made, and counted as unknown" },
          ]}
          value={draft.unknown}
          onChange={(unknown) => set({ unknown: unknown === "count" ? "count" : "refuse" })}
          allowDeselect={false}
        />
        <TagsInput size="xs" label="Alert at, per cent" data={[]} value={draft.alert_at.map(String)} onChange={(values) => set({ alert_at: values.map(Number) })} error={asked ? problems.alert_at : undefined} />
      </Form>
    </Modal>
  );
}

const MEASURES: { value: LimitBody["measure"]; label: string }[] = [
  { value: "requests", label: "Requests a minute" },
  { value: "tokens", label: "Tokens a minute" },
  { value: "concurrency", label: "Calls at once" },
];

/** Sets how fast a subject may be, or changes it. */
export function LimitForm({ project, limit, close }: { project: string; limit?: Limit; close: () => void }) {
  const [draft, setDraft] = useState<LimitBody>(limit ? { subject: limit.subject, name: limit.name, measure: limit.measure, amount: limit.amount, hard: limit.hard } : { subject: "key", name: "*", measure: "requests", amount: 60, hard: true });
  const queries = useQueryClient();
  const set = (change: Partial<LimitBody>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({
    mutationFn: () => putLimit(project, draft),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["limits", project] });
      close();
    },
  });
  return (
    <Modal opened onClose={close} title={limit ? "Change the limit" : "Set a limit"}>
      <Form
        act={limit ? "Save" : "Set the limit"}
        submit={() => save.mutate()}
        close={close}
        busy={save.isPending}
        error={save.error}
      >
        <Subject project={project} whom={draft} set={set} fixed={limit !== undefined} />
        <div className={css.pair}>
          <Select label="Of what" data={MEASURES} value={draft.measure} onChange={(measure) => set({ measure: MEASURES.find((one) => one.value === measure)?.value ?? "requests" })} allowDeselect={false} disabled={limit !== undefined} />
          <NumberInput size="xs" label="At most" min={0} max={1e15} allowDecimal={false} thousandSeparator="," value={draft.amount} onChange={(amount) => typeof amount === "number" && set({ amount })} data-autofocus />
        </div>
        <Switch size="xs" label="Refuse what is past it" description="Otherwise it is only counted" checked={draft.hard} onChange={(event) => set({ hard: event.currentTarget.checked })} />
      </Form>
    </Modal>
  );
}
