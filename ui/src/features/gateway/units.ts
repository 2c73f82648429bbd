/** What a model may charge for besides tokens of text, by the names of the API, in the order of the forms. */
export const UNITS = [
  { value: "image", label: "Images", per: "each" },
  { value: "image_input", label: "Tokens of pictures, read", per: "a million" },
  { value: "image_output", label: "Tokens of pictures, made", per: "a million" },
  { value: "second", label: "Seconds of sound", per: "each" },
  { value: "audio_input", label: "Tokens of sound, read", per: "a million" },
  { value: "audio_output", label: "Tokens of sound, made", per: "a million" },
  { value: "character", label: "Characters", per: "a million" },
  { value: "reasoning", label: "Tokens of thoughts", per: "a million" },
  { value: "request", label: "Requests", per: "each" },
  { value: "search_unit", label: "Searches", per: "each" },
] as const;

/** `Images, each`; a unit that this console does not know goes by its name. */
export function unitLabel(name: string): string {
  const unit = UNITS.find((each) => each.value === name);
  return unit === undefined ? name : `${unit.label}, ${unit.per}`;
}

const AMOUNT = /^\d{1,12}(\.\d{1,12})?$/;
export const NO_AMOUNT = "A number such as 0.25";

export interface Amounts {
  input: string;
  output: string;
  cache_read: string;
  cache_write: string;
  batch: string;
  currency: string;
  units: Readonly<Record<string, string>>;
}

/** What is wrong with a price that is typed, by the field's name; an empty text says nothing of it. The server judges again. */
export function amountProblems(price: Amounts): Record<string, string> {
  const problems: Record<string, string> = {};
  const said = (text: string): boolean => text.trim() !== "";
  for (const field of ["input", "output", "cache_read", "cache_write", "batch"] as const) if (said(price[field]) && !AMOUNT.test(price[field].trim())) problems[field] = NO_AMOUNT;
  if (said(price.batch) && problems.batch === undefined && Number(price.batch) > 1) problems.batch = "A part of the price, at most 1: 0.5 is half of it";
  for (const [name, amount] of Object.entries(price.units)) if (!AMOUNT.test(amount.trim())) problems[`units.${name}`] = NO_AMOUNT;
  if (said(price.input) !== said(price.output)) problems[said(price.input) ? "output" : "input"] = "Give both prices, or none";
  else if (!said(price.input) && Object.keys(price.units).length === 0 && [price.cache_read, price.cache_write, price.batch].some(said)) problems.input = "Give the price of input and output too";
  if (!/^[A-Z]{3}$/.test(price.currency.trim().toUpperCase())) problems.currency = "Such as USD";
  return problems;
}

/** The units of a price as they are sent. */
export function unitsOf(units: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(units).map(([name, amount]) => [name, amount.trim()]));
}
