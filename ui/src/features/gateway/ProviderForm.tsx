import { ActionIcon, Autocomplete, Button, Drawer, MultiSelect, NumberInput, Select, Switch, TagsInput, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconListSearch, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { discoverModels, putProvider, secretsQuery, type Preset, type Provider } from "@/api/gateway";
import { useEverywhere } from "@/features/session/useAdmin";
import { Failure } from "@/kit/Failure";
import { Form, useChecked } from "@/kit/Forms";
import forms from "@/kit/forms.module.css";
import css from "./gateway.module.css";
import { kindOf, loginMatters, noteOf, presetDraft, withPlace } from "./presets";
import { ADAPTERS, bodyOf, discoverBodyOf, draftOf, KINDS, LOGINS, NO_MODEL, optionsOf, optionTexts, problemsOf, withListed, type ModelDraft, type ProviderDraft } from "./providerForm";
import { SecretSelect } from "./SecretSelect";
import { UnitPrices } from "./UnitPrices";

/** Adds a provider, as a preset describes it where there is one, or changes one. */
export function ProviderForm({ project, provider, preset, taken, back, close, done }: { project: string; provider?: Provider; preset?: Preset | undefined; taken: string[]; back?: () => void; close: () => void; done: (saved: Provider) => void }) {
  const [draft, setDraft] = useState<ProviderDraft>(() => (preset === undefined ? draftOf(provider) : presetDraft(draftOf(undefined), preset, taken)));
  const everywhere = useEverywhere();
  const queries = useQueryClient();
  const secrets = useQuery(secretsQuery(project));
  const problems = problemsOf(draft, provider === undefined ? taken : []);
  const { told, wrong, check } = useChecked(problems);
  const set = (change: Partial<ProviderDraft>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({
    mutationFn: () => putProvider(project, draft.name, bodyOf(draft)),
    onSuccess: (saved) => {
      void queries.invalidateQueries({ queryKey: ["providers", project] });
      void queries.invalidateQueries({ queryKey: ["routed-models", project] });
      done(saved);
    },
  });
  const find = useMutation({ mutationFn: () => discoverModels(project, draft.name, discoverBodyOf(draft)) });
  const unready = ["name", "base_url", "adapter", "secret", ...Object.keys(draft.places).map((place) => `places.${place}`)].some((field) => field in problems);
  const login = <Select label="The key is used" description="As header, signature, token…" placeholder="as usual" data={[...LOGINS]} value={draft.auth === "" ? null : draft.auth} onChange={(auth) => set({ auth: auth ?? "" })} clearable />;
  const [early] = useState(() => loginMatters(draft));
  const number = (field: "connect_timeout_s" | "first_byte_timeout_s" | "idle_timeout_s" | "total_timeout_s" | "max_connections" | "max_concurrency" | "max_queue" | "queue_target_s", label: string, description: string) => (
    <NumberInput size="xs" label={label} description={description} min={0} value={draft[field]} onChange={(value) => typeof value === "number" && set({ [field]: value })} />
  );
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={provider !== undefined ? `Change ${provider.name}` : preset === undefined ? "Add a provider" : `Add ${preset.title}`}>
      <Form
        act={provider === undefined ? "Add the provider" : "Save"}
        submit={() => check() && save.mutate()}
        close={close}
        busy={save.isPending}
        error={save.error}
        wrong={wrong}
        first={
          back && (
            <Button variant="subtle" color="gray" onClick={back}>
              Another kind
            </Button>
          )
        }
      >
        <div className={css.pair}>
          <TextInput label="Name" description="Clients ask for NAME/MODEL; it never changes" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} error={told.name} disabled={provider !== undefined} required data-autofocus />
          <Autocomplete size="xs" label="Protocol" description="What it speaks" data={[...ADAPTERS]} value={draft.adapter} onChange={(adapter) => set({ adapter, ...(draft.system === draft.adapter ? { system: adapter } : {}) })} error={told.adapter} required />
        </div>
        {preset !== undefined && preset.places.length > 0 && (
          <div className={css.pair}>
            {preset.places.map((place) => (
              <TextInput key={place} label={`${place.charAt(0).toUpperCase()}${place.slice(1).replaceAll("_", " ")}`} description="A part of its address" placeholder={place === "region" ? "us-east-1" : ""} value={draft.places[place] ?? ""} onChange={(event) => setDraft(withPlace(draft, place, event.currentTarget.value))} error={told[`places.${place}`]} required />
            ))}
          </div>
        )}
        <TextInput label="Address" description="Ends before /chat/completions or /messages" placeholder="https://api.example.com/v1" value={draft.base_url} onChange={(event) => set({ base_url: event.currentTarget.value })} error={told.base_url} required />
        <SecretSelect project={project} value={draft.secret} onChange={(secret) => set({ secret })} error={told.secret} holds={preset?.secret} />
        {early && login}
        {preset !== undefined && preset.note !== "" && <p className={css.note}>{noteOf(preset.note)}</p>}
        <fieldset className={css.group}>
          <legend>Models</legend>
          <p className={css.note}>Prices of text are for a million tokens. One that is given here goes before the price table and the public price list; a model that none of them knows costs an unknown amount, never nothing.</p>
          <div className={css.itemHead}>
            {find.data !== undefined && find.data.length > 0 ? (
              <MultiSelect size="xs" label={`Its models, ${find.data.length} that it lists`} placeholder="Choose by name" data={find.data} value={draft.models.map((model) => model.name).filter((name) => find.data.includes(name))} onChange={(chosen) => setDraft(withListed(draft, find.data, chosen, kindOf))} limit={100} maxValues={500} searchable hidePickedOptions />
            ) : (
              <p className={css.note} role="status">
                {find.data === undefined ? "Name them below, or ask the provider which it has." : "It lists none: name them below."}
              </p>
            )}
            <Button variant="default" leftSection={<IconListSearch size={14} />} loading={find.isPending} onClick={() => (unready ? check() : find.mutate())}>
              Find its models
            </Button>
          </div>
          <Failure error={find.error} />
          {draft.models.map((model, i) => (
            <ModelFields
              key={i}
              number={i}
              model={model}
              problems={told}
              change={(next) => set({ models: draft.models.map((each, n) => (n === i ? { ...each, ...next } : each)) })}
              remove={draft.models.length > 1 ? () => set({ models: draft.models.filter((_, n) => n !== i) }) : undefined}
            />
          ))}
          <Button variant="default" leftSection={<IconPlus size={14} />} style={{ justifySelf: "start" }} onClick={() => set({ models: [...draft.models, NO_MODEL] })}>
            Another model
          </Button>
        </fieldset>
        <details className={css.more}>
          <summary>More keys, limits and time</summary>
          <div className={forms.form}>
            <MultiSelect size="xs" label="More keys" description="Of the same provider: one that is refused or at its limit gives way to another" data={(secrets.data ?? []).map((secret) => secret.name).filter((name) => name !== draft.secret)} value={draft.secrets} onChange={(names) => set({ secrets: names })} searchable />
            <div className={css.pair}>
              {!early && login}
              <TagsInput size="xs" label="Options" description="Such as region=eu-west-1; what its protocol needs besides" value={optionTexts(draft.options)} onChange={(texts) => set({ options: optionsOf(texts) })} maxTags={16} />
            </div>
            <div className={css.pair}>
              <TextInput label="Named on spans" description="gen_ai.provider.name, and its name in the price list" value={draft.system} maxLength={63} onChange={(event) => set({ system: event.currentTarget.value })} />
              <Select
                label="What its protocol cannot say"
                description="Of what a client asks"
                data={[
                  { value: "lossy", label: "is left out, and named in the answer" },
                  { value: "strict", label: "refuses the call" },
                ]}
                value={draft.translation}
                onChange={(translation) => translation && set({ translation })}
                allowDeselect={false}
              />
              <Select
                label="Batches"
                description="Of many calls that may take hours"
                data={[
                  { value: "", label: "as the provider is known to do them" },
                  { value: "native", label: "are handed over to its own batch API" },
                  { value: "calls", label: "are made as calls" },
                ]}
                value={draft.batches}
                onChange={(batches) => batches !== null && set({ batches })}
                allowDeselect={false}
              />
            </div>
            <div className={css.triple}>
              {number("max_concurrency", "Calls at once", "of one gateway worker; 0: no limit")}
              {number("max_queue", "Calls that wait", "for a place; more are refused")}
              {number("queue_target_s", "Wait, s", "longer than this for long refuses more")}
              {number("connect_timeout_s", "Connect, s", "at most")}
              {number("first_byte_timeout_s", "First byte, s", "at most")}
              {number("idle_timeout_s", "Silence, s", "between two pieces, at most")}
              {number("total_timeout_s", "Whole answer, s", "at most")}
              {number("max_connections", "Connections", "of one gateway worker, at most")}
            </div>
            {everywhere && (
              <>
                <Switch size="xs" label="It may be at a private address" description="Of this machine or the network inside; one that you type above is taken for one that you mean" checked={draft.reach ?? draft.internal === true} onChange={(event) => set({ reach: event.currentTarget.checked })} />
                <Textarea size="xs" label="Certificates" description="PEM of those that sign its own, in place of the system's" placeholder="-----BEGIN CERTIFICATE-----" value={draft.ca} onChange={(event) => set({ ca: event.currentTarget.value })} error={told.ca} minRows={2} maxRows={8} autosize maxLength={262_144} spellCheck={false} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />
              </>
            )}
          </div>
        </details>
      </Form>
    </Drawer>
  );
}

function ModelFields({ number, model, problems, change, remove }: { number: number; model: ModelDraft; problems: Record<string, string>; change: (next: Partial<ModelDraft>) => void; remove: (() => void) | undefined }) {
  const at = (field: string): string | undefined => problems[`models.${number}.${field}`];
  const named = model.name === "" ? `model ${number + 1}` : model.name;
  const priced = model.input !== "" || Object.keys(model.units).length > 0;
  const wrong = Object.keys(problems).some((field) => field.startsWith(`models.${number}.`) && !/\.(name|kinds)$/.test(field));
  const [open, setOpen] = useState(priced);
  const price = (field: "input" | "output" | "cache_read" | "cache_write" | "batch" | "currency", label: string) => (
    <TextInput label={label} aria-label={`${label} of ${named}`} value={model[field]} inputMode={field === "currency" ? "text" : "decimal"} maxLength={field === "currency" ? 3 : 26} onChange={(event) => change({ [field]: event.currentTarget.value })} error={at(field)} />
  );
  return (
    <div className={css.item}>
      <div className={css.itemHead}>
        <TextInput label={`Model ${number + 1}`} placeholder="gpt-5-mini" value={model.name} onChange={(event) => change({ name: event.currentTarget.value })} error={at("name")} required />
        <MultiSelect size="xs" label="Does" aria-label={`What ${named} does`} data={[...KINDS]} value={model.kinds} onChange={(kinds) => change({ kinds })} error={at("kinds")} style={{ flex: 1 }} />
        {remove && (
          <ActionIcon aria-label={`Remove ${named}`} onClick={remove}>
            <IconTrash size={15} />
          </ActionIcon>
        )}
      </div>
      <details className={css.more} open={open || wrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{priced ? "Price" : "Price from the table or the public list"}{model.deployment !== "" && `, called ${model.deployment}`}</summary>
        <div className={css.stack}>
          <div className={css.triple}>
            {price("input", "Input")}
            {price("output", "Output")}
            {price("currency", "Currency")}
            {price("cache_read", "Read from its cache")}
            {price("cache_write", "Written to its cache")}
            {price("batch", "Part in batches, as 0.5")}
            <TextInput label="The provider calls it" aria-label={`What the provider calls ${named}`} placeholder="the same" value={model.deployment} maxLength={200} onChange={(event) => change({ deployment: event.currentTarget.value })} />
          </div>
          <UnitPrices units={model.units} change={(units) => change({ units })} error={(unit) => at(`units.${unit}`)} of={named} />
        </div>
      </details>
    </div>
  );
}
