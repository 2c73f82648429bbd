import { ActionIcon, Autocomplete, Button, Drawer, NumberInput, Select, Switch, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconArrowDown, IconArrowUp, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { putRoute, routedModelsQuery, type ModelRoute, type RouteTarget } from "@/api/gateway";
import { Form, useChecked } from "@/kit/Forms";
import forms from "@/kit/forms.module.css";
import css from "./gateway.module.css";
import { AFFINITIES, FALLBACKS, LABELS, newTarget, routeBodyOf, routeDraftOf, routeProblemsOf, STRATEGIES, targetsOf, type RouteDraft } from "./routeForm";

const WORDS: Record<(typeof LABELS)[number], string> = { segments: "Segments", sensitivities: "Sensitivity of the data", regions: "Regions" };

/** Adds a route, or changes one. */
export function RouteForm({ project, route, taken, close }: { project: string; route?: ModelRoute; taken: string[]; close: () => void }) {
  const [draft, setDraft] = useState<RouteDraft>(() => routeDraftOf(route));
  const queries = useQueryClient();
  const routed = useQuery(routedModelsQuery(project));
  const models = (routed.data ?? []).map((model) => model.name);
  const problems = routeProblemsOf(draft, taken);
  const { told, wrong, check } = useChecked(problems);
  const set = (change: Partial<RouteDraft>): void => setDraft((before) => ({ ...before, ...change }));
  const change = (i: number, next: Partial<RouteTarget>): void => set({ targets: draft.targets.map((each, n) => (n === i ? { ...each, ...next } : each)) });
  const swap = (i: number, j: number): void => {
    const targets = [...draft.targets];
    const [one, other] = [targets[i], targets[j]];
    if (one === undefined || other === undefined) return;
    targets[i] = other;
    targets[j] = one;
    set({ targets });
  };
  const save = useMutation({
    mutationFn: () => putRoute(project, draft.name, routeBodyOf(draft)),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["model-routes", project] });
      close();
    },
  });
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={route === undefined ? "Add a route" : `Change ${route.name}`}>
      <Form
        act={route === undefined ? "Add the route" : "Save"}
        submit={() => check() && save.mutate()}
        close={close}
        busy={save.isPending}
        error={save.error}
        wrong={wrong}
      >
        <div className={css.pair}>
          <TextInput label="Name" description="Clients ask for it like a model" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} error={told.name} disabled={route !== undefined} required data-autofocus />
          <TagsInput size="xs" label="Aliases" description="More names; one may hide a model's" value={draft.aliases} onChange={(aliases) => set({ aliases })} error={told.aliases} />
        </div>
        <div className={css.pair}>
          <Select label="Calls go" data={STRATEGIES} value={draft.strategy} onChange={(value) => set({ strategy: STRATEGIES.find((one) => one.value === value)?.value ?? "order" })} allowDeselect={false} />
          <Select label="To the same model goes" data={AFFINITIES} value={draft.affinity} onChange={(value) => set({ affinity: AFFINITIES.find((one) => one.value === value)?.value ?? "none" })} allowDeselect={false} />
        </div>
        <fieldset className={css.group}>
          <legend>Targets</legend>
          {draft.targets.map((target, i) => (
            <Target
              key={i}
              number={i}
              target={target}
              models={models}
              problems={told}
              change={(next) => change(i, next)}
              up={i > 0 ? () => swap(i, i - 1) : undefined}
              down={i < draft.targets.length - 1 ? () => swap(i, i + 1) : undefined}
              remove={draft.targets.length > 1 ? () => set({ targets: draft.targets.filter((_, n) => n !== i) }) : undefined}
            />
          ))}
          {told.targets !== undefined && <p className={forms.error}>{told.targets}</p>}
          <Button variant="default" leftSection={<IconPlus size={14} />} style={{ justifySelf: "start" }} onClick={() => set({ targets: [...draft.targets, newTarget("")] })}>
            Another target
          </Button>
        </fieldset>
        <fieldset className={css.group}>
          <legend>Fallbacks</legend>
          <p className={css.note}>Models that take over when no target answers, in the order written, by what went wrong.</p>
          {FALLBACKS.map(({ kind, label }) => (
            <TagsInput
              key={kind}
              size="xs"
              label={label}
              data={models}
              maxTags={32}
              value={draft.fallbacks[kind].map((target) => target.model)}
              onChange={(names) => set({ fallbacks: { ...draft.fallbacks, [kind]: targetsOf(names, draft.fallbacks[kind]) } })}
              error={told[`fallbacks.${kind}`]}
            />
          ))}
        </fieldset>
        <Patience draft={draft} set={set} told={told} />
      </Form>
    </Drawer>
  );
}

function Target({ number, target, models, problems, change, up, down, remove }: { number: number; target: RouteTarget; models: string[]; problems: Record<string, string>; change: (next: Partial<RouteTarget>) => void; up: (() => void) | undefined; down: (() => void) | undefined; remove: (() => void) | undefined }) {
  const at = (field: string): string | undefined => problems[`targets.${number}.${field}`];
  const named = target.model === "" ? `target ${number + 1}` : target.model;
  const conditioned = LABELS.some((label) => target.when[label].length > 0);
  return (
    <div className={css.item}>
      <div className={css.itemHead}>
        <Autocomplete size="xs" label={`Target ${number + 1}`} placeholder="openai/gpt-5-mini" data={models} value={target.model} onChange={(model) => change({ model })} error={at("model")} required />
        <ActionIcon aria-label={`Move ${named} up`} onClick={up} disabled={up === undefined}>
          <IconArrowUp size={15} />
        </ActionIcon>
        <ActionIcon aria-label={`Move ${named} down`} onClick={down} disabled={down === undefined}>
          <IconArrowDown size={15} />
        </ActionIcon>
        <ActionIcon aria-label={`Remove ${named}`} onClick={remove} disabled={remove === undefined}>
          <IconTrash size={15} />
        </ActionIcon>
      </div>
      <div className={css.triple}>
        <NumberInput size="xs" label="Weight" aria-label={`Weight of ${named}`} min={0} max={1_000_000} allowDecimal={false} value={target.weight} onChange={(weight) => typeof weight === "number" && change({ weight })} />
        <NumberInput size="xs" label="Priority, lower first" aria-label={`Priority of ${named}`} min={0} max={1000} allowDecimal={false} value={target.priority} onChange={(priority) => typeof priority === "number" && change({ priority })} />
        <NumberInput size="xs" label="Calls at once, 0: no limit" aria-label={`Calls at once of ${named}`} min={0} max={100_000} allowDecimal={false} value={target.max_in_flight} onChange={(max_in_flight) => typeof max_in_flight === "number" && change({ max_in_flight })} />
      </div>
      <details className={css.more} open={conditioned || LABELS.some((label) => at(label) !== undefined)}>
        <summary>{conditioned ? "Only for calls with these labels" : "For all calls"}</summary>
        <div className={css.triple}>
          {LABELS.map((label) => (
            <TagsInput key={label} size="xs" label={WORDS[label]} aria-label={`${WORDS[label]} of ${named}`} value={target.when[label]} onChange={(labels) => change({ when: { ...target.when, [label]: labels } })} error={at(label)} maxTags={64} />
          ))}
        </div>
      </details>
    </div>
  );
}

/** How long a call is waited for, how often it is made again, and when a target is left alone. */
function Patience({ draft, set, told }: { draft: RouteDraft; set: (change: Partial<RouteDraft>) => void; told: Record<string, string> }) {
  const number = <G extends "retry" | "deadlines" | "hedge" | "breaker">(group: G, field: keyof RouteDraft[G] & string, label: string) => (
    <NumberInput size="xs" label={label} min={0} value={draft[group][field] as number} onChange={(value) => typeof value === "number" && set({ [group]: { ...draft[group], [field]: value } })} error={told[`${group}.${field}`]} />
  );
  return (
    <details className={css.more} open={Object.keys(told).some((field) => field.startsWith("retry.") || field.startsWith("breaker."))}>
      <summary>Retries, deadlines, hedging and breaker</summary>
      <div className={forms.form}>
        <div className={css.triple}>
          <NumberInput size="xs" label="Attempts in all" min={1} max={8} allowDecimal={false} value={draft.max_attempts} onChange={(value) => typeof value === "number" && set({ max_attempts: value })} />
          {number("retry", "retries", "Retries on one target")}
          {number("retry", "budget_percent", "Retries, % of calls at most")}
          {number("retry", "first_pause_s", "First pause, s")}
          {number("retry", "longest_pause_s", "Longest pause, s")}
        </div>
        <p className={css.note}>Deadlines; 0 leaves what the provider says.</p>
        <div className={css.triple}>
          {number("deadlines", "connect_s", "Connect, s")}
          {number("deadlines", "first_token_s", "First token, s")}
          {number("deadlines", "idle_s", "Silence, s")}
          {number("deadlines", "total_s", "Everything, s")}
        </div>
        <Switch size="xs" label="Ask the next target too when the first token is late" checked={draft.hedge.enabled} onChange={(event) => set({ hedge: { ...draft.hedge, enabled: event.currentTarget.checked } })} />
        {draft.hedge.enabled && (
          <div className={css.triple}>
            {number("hedge", "budget_percent", "Of calls at most, %")}
            {number("hedge", "min_samples", "After so many first tokens")}
            {number("hedge", "min_wait_s", "Not before, s")}
          </div>
        )}
        <p className={css.note}>A target is left alone after so many failures in a row, or that share of its calls.</p>
        <div className={css.triple}>
          {number("breaker", "consecutive", "Failures in a row")}
          {number("breaker", "ratio", "Share that fails, 0 to 1")}
          {number("breaker", "min_calls", "Of at least so many calls")}
          {number("breaker", "window_s", "Within, s")}
          {number("breaker", "open_s", "Left alone for, s")}
          {number("breaker", "longest_open_s", "Doubled up to, s")}
        </div>
      </div>
    </details>
  );
}
