import { Autocomplete, Modal, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { routedModelsQuery } from "@/api/gateway";
import { addPrice } from "@/api/models";
import { Form, useChecked } from "@/kit/Forms";
import css from "./gateway.module.css";
import { priceBody, priceDraft, priceProblems, type PriceDraft } from "./priceForm";
import type { ShownPrice } from "./prices";
import { UnitPrices } from "./UnitPrices";

/** Adds a line to the price table of the project; it begins with what the model costs now, where that is known. */
export function PriceForm({ project, model, price, close }: { project: string; model: string; price: ShownPrice | null; close: () => void }) {
  const [draft, setDraft] = useState<PriceDraft>(() => priceDraft(model, price));
  const queries = useQueryClient();
  const models = useQuery({ ...routedModelsQuery(project), enabled: model === "" });
  const { told, wrong, check } = useChecked(priceProblems(draft));
  const set = (change: Partial<PriceDraft>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({
    mutationFn: () => addPrice(project, priceBody(draft)),
    onSuccess: () => {
      refreshPrices(queries, project);
      close();
    },
  });
  const amount = (field: "input" | "output" | "cache_read" | "cache_write" | "batch", label: string, placeholder = "") => <TextInput label={label} placeholder={placeholder} value={draft[field]} inputMode="decimal" maxLength={26} onChange={(event) => set({ [field]: event.currentTarget.value })} error={told[field]} />;
  const time = (field: "from" | "until", label: string, description: string) => <TextInput type="datetime-local" label={label} description={description} value={draft[field]} onChange={(event) => set({ [field]: event.currentTarget.value })} error={told[field]} />;
  return (
    <Modal opened onClose={close} title={model === "" ? "Set a price" : `Set the price of ${model}`} size="lg">
      <Form act="Set the price" submit={() => check() && save.mutate()} close={close} busy={save.isPending} error={save.error} wrong={wrong}>
        <p className={css.note}>It counts for calls that end from then on. What calls have cost before stays as it was counted.</p>
        {model === "" && <Autocomplete size="xs" label="Model" openOnFocus={false} placeholder="openai/gpt-5-mini" data={(models.data ?? []).map((each) => each.name)} value={draft.model} onChange={(name) => set({ model: name })} error={told.model} limit={50} maxLength={128} required data-autofocus />}
        <fieldset className={css.group}>
          <legend>A million tokens of text</legend>
          <div className={css.triple}>
            {amount("input", "Input")}
            {amount("output", "Output")}
            <TextInput label="Currency" value={draft.currency} maxLength={3} onChange={(event) => set({ currency: event.currentTarget.value.toUpperCase() })} error={told.currency} />
            {amount("cache_read", "Read from its cache", "as input")}
            {amount("cache_write", "Written to its cache", "as input")}
            {amount("batch", "Part in batches, as 0.5", "not known")}
          </div>
        </fieldset>
        <UnitPrices units={draft.units} change={(units) => set({ units })} error={(name) => told[`units.${name}`]} of={model === "" ? "the model" : model} />
        <div className={css.pair}>
          {time("from", "From", "By your clock; empty: it has always held")}
          {time("until", "Until", "Not at that moment any more; empty: open")}
        </div>
      </Form>
    </Modal>
  );
}

/** When it is asked again what gateways count by: their table is made anew a moment after a price is set or taken back. */
const LATER_MS = [1_000, 3_000, 10_000];

/** Has everything that shows prices ask again, at once and when gateways have learned of it. */
export function refreshPrices(queries: ReturnType<typeof useQueryClient>, project: string): void {
  for (const key of ["model-prices", "routed-models", "models", "unpriced-models"]) void queries.invalidateQueries({ queryKey: [key, project] });
  for (const ms of LATER_MS) setTimeout(() => void queries.invalidateQueries({ queryKey: ["routed-models", project] }), ms);
}
