import type { PriceBody } from "@/api/models";
import type { ShownPrice } from "./prices";
import { amountProblems, unitsOf, type Amounts } from "./units";

/** A price as it is typed: amounts are texts, times are those of the browser's clock, empty for always and open. */
export interface PriceDraft extends Amounts {
  model: string;
  units: Record<string, string>;
  from: string;
  until: string;
}

export function priceDraft(model: string, price: ShownPrice | null): PriceDraft {
  return {
    model,
    input: price?.input ?? "",
    output: price?.output ?? "",
    cache_read: price?.cache_read ?? "",
    cache_write: price?.cache_write ?? "",
    batch: price?.batch ?? "",
    currency: price?.currency ?? "USD",
    units: { ...price?.units },
    from: "",
    until: "",
  };
}

const MODEL = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/;

/** What is wrong with a draft, by the field's name; the server judges again. */
export function priceProblems(draft: PriceDraft): Record<string, string> {
  const problems = amountProblems(draft);
  if (!MODEL.test(draft.model.trim())) problems.model = "As clients ask for it, such as openai/gpt-5-mini";
  if (draft.input.trim() === "" && draft.output.trim() === "" && Object.keys(draft.units).length === 0 && problems.input === undefined) problems.input = "What costs nothing is 0; what is not known needs no line";
  const [from, until] = [Date.parse(draft.from), Date.parse(draft.until)];
  if (draft.from !== "" && Number.isNaN(from)) problems.from = "A day and a time";
  if (draft.until !== "" && Number.isNaN(until)) problems.until = "A day and a time";
  else if (draft.until !== "" && draft.from !== "" && until <= from) problems.until = "After it begins";
  return problems;
}

export function priceBody(draft: PriceDraft): PriceBody {
  const or = (text: string): string | null => (text.trim() === "" ? null : text.trim());
  const at = (text: string): string | null => (text === "" ? null : new Date(text).toISOString());
  return {
    model: draft.model.trim(),
    input: or(draft.input) ?? "0",
    output: or(draft.output) ?? "0",
    cache_read: or(draft.cache_read),
    cache_write: or(draft.cache_write),
    batch: or(draft.batch),
    currency: draft.currency.trim().toUpperCase(),
    units: unitsOf(draft.units),
    valid_from: at(draft.from),
    valid_to: at(draft.until),
    source: "manual",
  };
}
