import { ActionIcon, Autocomplete, Button, Drawer, MultiSelect, NumberInput, Select, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { putProvider, secretsQuery, type Provider } from "@/api/gateway";
import { Failure } from "@/kit/Failure";
import css from "./gateway.module.css";
import { ADAPTERS, bodyOf, draftOf, KINDS, LOGINS, NO_MODEL, optionsOf, optionTexts, problemsOf, type ModelDraft, type ProviderDraft } from "./providerForm";
import { SecretSelect } from "./SecretSelect";

/** Adds a provider, or changes one. */
export function ProviderForm({ project, provider, taken, close, done }: { project: string; provider?: Provider; taken: string[]; close: () => void; done: (saved: Provider) => void }) {
  const [draft, setDraft] = useState<ProviderDraft>(() => draftOf(provider));
  const [asked, setAsked] = useState(false);
  const queries = useQueryClient();
  const secrets = useQuery(secretsQuery(project));
  const problems = problemsOf(draft, provider === undefined ? taken : []);
  const told = asked ? problems : {};
  const set = (change: Partial<ProviderDraft>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({
    mutationFn: () => putProvider(project, draft.name, bodyOf(draft)),
    onSuccess: (saved) => {
      void queries.invalidateQueries({ queryKey: ["providers", project] });
      void queries.invalidateQueries({ queryKey: ["routed-models", project] });
      done(saved);
    },
  });
  const number = (field: "connect_timeout_s" | "first_byte_timeout_s" | "idle_timeout_s" | "total_timeout_s" | "max_connections" | "max_concurrency" | "max_queue" | "queue_target_s", label: string, description: string) => (
    <NumberInput size="xs" label={label} description={description} min={0} value={draft[field]} onChange={(value) => typeof value === "number" && set({ [field]: value })} />
  );
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={provider === undefined ? "Add a provider" : `Change ${provider.name}`}>
      <form
        className={css.form}
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(true);
          if (Object.keys(problems).length === 0) save.mutate();
        }}
      >
        <div className={css.pair}>
          <TextInput label="Name" description="Clients ask for NAME/MODEL; it never changes" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} error={told.name} disabled={provider !== undefined} required data-autofocus />
          <Autocomplete size="xs" label="Protocol" description="What it speaks" data={[...ADAPTERS]} value={draft.adapter} onChange={(adapter) => set({ adapter, ...(draft.system === draft.adapter ? { system: adapter } : {}) })} error={told.adapter} required />
        </div>
        <TextInput label="Address" description="Ends before /chat/completions or /messages" placeholder="https://api.example.com/v1" value={draft.base_url} onChange={(event) => set({ base_url: event.currentTarget.value })} error={told.base_url} required />
        <SecretSelect project={project} value={draft.secret} onChange={(secret) => set({ secret })} error={told.secret} />
        <fieldset className={css.group}>
          <legend>Models</legend>
          <p className={css.note}>Prices are per million tokens. Without one the public price list is asked; a model that it does not know costs an unknown amount, never nothing.</p>
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
          <div className={css.form}>
            <MultiSelect size="xs" label="More keys" description="Of the same provider: one that is refused or at its limit gives way to another" data={(secrets.data ?? []).map((secret) => secret.name).filter((name) => name !== draft.secret)} value={draft.secrets} onChange={(names) => set({ secrets: names })} searchable />
            <div className={css.pair}>
              <Select label="The key is used" description="As header, signature, token…" placeholder="as usual" data={[...LOGINS]} value={draft.auth === "" ? null : draft.auth} onChange={(auth) => set({ auth: auth ?? "" })} clearable />
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
          </div>
        </details>
        <Failure error={save.error} />
        {asked && Object.keys(problems).length > 0 && (
          <p className={css.error} role="alert">
            Something above needs another look.
          </p>
        )}
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending}>
            {provider === undefined ? "Add the provider" : "Save"}
          </Button>
        </div>
      </form>
    </Drawer>
  );
}

function ModelFields({ number, model, problems, change, remove }: { number: number; model: ModelDraft; problems: Record<string, string>; change: (next: Partial<ModelDraft>) => void; remove: (() => void) | undefined }) {
  const at = (field: string): string | undefined => problems[`models.${number}.${field}`];
  const named = model.name === "" ? `model ${number + 1}` : model.name;
  const price = (field: "input" | "output" | "cache_read" | "cache_write" | "currency", label: string) => (
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
      <details className={css.more} open={model.input !== "" || at("input") !== undefined || at("output") !== undefined}>
        <summary>{model.input === "" ? "Price from the public list" : "Price"}{model.deployment !== "" && `, called ${model.deployment}`}</summary>
        <div className={css.triple}>
          {price("input", "Input")}
          {price("output", "Output")}
          {price("currency", "Currency")}
          {price("cache_read", "Read from its cache")}
          {price("cache_write", "Written to its cache")}
          <TextInput label="The provider calls it" aria-label={`What the provider calls ${named}`} placeholder="the same" value={model.deployment} maxLength={200} onChange={(event) => change({ deployment: event.currentTarget.value })} />
        </div>
      </details>
    </div>
  );
}
