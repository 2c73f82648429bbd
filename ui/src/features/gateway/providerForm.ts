import { amountProblems, unitsOf } from "./units";
import type { Provider, ProviderBody, ProviderModel } from "@/api/gateway";

/** A model as it is typed: prices are texts, empty where they are not known. */
export interface ModelDraft {
  name: string;
  kinds: string[];
  /** What the provider calls it, where that is another name. */
  deployment: string;
  /** Prices of what is no token of text, by the names of the API. */
  units: Record<string, string>;
  /** What part of its price a call costs in the provider's own batches, such as 0.5. */
  batch: string;
  input: string;
  output: string;
  cache_read: string;
  cache_write: string;
  currency: string;
}

export interface ProviderDraft extends Omit<ProviderBody, "models"> {
  name: string;
  models: ModelDraft[];
  /** The address of the preset that it began with, with `{places}`; empty without one. */
  template: string;
  places: Record<string, string>;
  /** Whether it may be at a private address, where somebody said so here. */
  reach?: boolean | undefined;
}

export const KINDS = ["chat", "embeddings", "moderations", "rerank", "images", "transcriptions", "speech"] as const;
/** Protocols that are spoken here; the server says of any other what it knows. */
export const ADAPTERS = ["openai", "anthropic", "any-llm", "azure", "bedrock", "gemini", "invocations", "mistral", "vertex-anthropic"] as const;
/** How a secret is used; empty: as the provider usually wants it. */
export const LOGINS = [
  { value: "bearer", label: "as a bearer token" },
  { value: "header", label: "in a header (option header)" },
  { value: "query", label: "in the address" },
  { value: "sigv4", label: "to sign each call (AWS)" },
  { value: "google", label: "as a Google service account" },
  { value: "aws-machine", label: "none: as the gateway's own machine (AWS)" },
  { value: "google-machine", label: "none: as the gateway's own machine (Google)" },
  { value: "azure-machine", label: "none: as the gateway's own machine (Azure)" },
  { value: "none", label: "not at all" },
] as const;
export const NO_MODEL: ModelDraft = { name: "", kinds: ["chat"], deployment: "", units: {}, batch: "", input: "", output: "", cache_read: "", cache_write: "", currency: "USD" };

const NEW: ProviderBody = {
  base_url: "",
  models: [],
  adapter: "openai",
  system: "openai",
  secret: "",
  secrets: [],
  connect_timeout_s: 5,
  first_byte_timeout_s: 120,
  idle_timeout_s: 60,
  total_timeout_s: 600,
  max_connections: 512,
  operations: [],
  translation: "lossy",
  batches: "",
  max_concurrency: 0,
  max_queue: 64,
  queue_target_s: 1,
  ca: "",
  auth: "",
  options: {},
};

export function draftOf(provider: Provider | undefined): ProviderDraft {
  if (provider === undefined) return { ...NEW, name: "", models: [NO_MODEL], template: "", places: {} };
  return {
    ...provider,
    template: "",
    places: {},
    models: provider.models.map(({ name, kinds, deployment, price }) => ({
      name,
      kinds,
      deployment,
      units: price?.units ?? {},
      batch: price?.batch ?? "",
      input: price?.input ?? "",
      output: price?.output ?? "",
      cache_read: price?.cache_read ?? "",
      cache_write: price?.cache_write ?? "",
      currency: price?.currency ?? "USD",
    })),
  };
}

/** What to send for a draft; everything that the form does not show goes back as it came, but for whether it is inside
 *  the network: unless it was said here it is left out, stays as it is for the same address, and is judged anew for
 *  another one. */
export function bodyOf(draft: ProviderDraft): ProviderBody {
  const body: ProviderBody & Partial<Pick<ProviderDraft, "name" | "template" | "places" | "reach">> = { ...draft, base_url: draft.base_url.trim().replace(/\/+$/, ""), ca: draft.ca.trim(), models: draft.models.map(modelOf) };
  delete body.name;
  delete body.template;
  delete body.places;
  delete body.reach;
  delete body.internal;
  return draft.reach === undefined ? body : { ...body, internal: draft.reach };
}

/** What to ask for the models of a draft whose own are not all named yet. */
export function discoverBodyOf(draft: ProviderDraft): ProviderBody {
  return bodyOf({ ...draft, models: [] });
}

/** A draft with exactly these of the models that its provider lists, and those that it does not list. */
export function withListed(draft: ProviderDraft, listed: readonly string[], chosen: readonly string[], kind: (name: string) => string): ProviderDraft {
  const kept = draft.models.filter((model) => model.name.trim() !== "" && (!listed.includes(model.name) || chosen.includes(model.name)));
  const fresh = chosen.filter((name) => !kept.some((model) => model.name === name)).map((name) => ({ ...NO_MODEL, name, kinds: [kind(name)] }));
  const models = [...kept, ...fresh];
  return { ...draft, models: models.length === 0 ? [NO_MODEL] : models };
}

function modelOf({ name, kinds, deployment, ...price }: ModelDraft): ProviderModel {
  const or = (text: string): string | null => (text.trim() === "" ? null : text.trim());
  const priced = price.input.trim() !== "" || price.output.trim() !== "" || Object.keys(price.units).length > 0;
  return {
    name: name.trim(),
    kinds,
    deployment: deployment.trim(),
    price: priced ? { input: or(price.input) ?? "0", output: or(price.output) ?? "0", cache_read: or(price.cache_read), cache_write: or(price.cache_write), currency: price.currency.trim().toUpperCase(), units: unitsOf(price.units), batch: or(price.batch) } : null,
  };
}

/** `region=eu-west-1` for each option, as it is typed. */
export function optionTexts(options: Record<string, string>): string[] {
  return Object.entries(options).map(([name, value]) => `${name}=${value}`);
}

/** The options that were typed; what has no name or no value is left out. */
export function optionsOf(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.flatMap((text) => {
      const at = text.indexOf("=");
      return at > 0 && at < text.length - 1 ? [[text.slice(0, at).trim(), text.slice(at + 1).trim()]] : [];
    }),
  );
}

function urlOf(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

const PLACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** What is wrong with a draft, by the field's name; the server judges again. */
export function problemsOf(draft: ProviderDraft, taken: readonly string[] = []): Record<string, string> {
  const problems: Record<string, string> = {};
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(draft.name)) problems.name = "Small letters, digits and -, at most 63";
  else if (taken.includes(draft.name)) problems.name = "There is a provider of that name";
  const missing = Object.entries(draft.places).filter(([place, value]) => draft.base_url.includes(`{${place}}`) || (value !== "" && !PLACE.test(value.trim())));
  for (const [place] of missing) problems[`places.${place}`] = "Letters, digits, . _ and -";
  const url = urlOf(draft.base_url.trim());
  if (missing.length > 0) {
    // The address is whole once they are given.
  } else if (url === null || !/^https?:$/.test(url.protocol)) problems.base_url = "An address such as https://api.example.com/v1";
  else if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") problems.base_url = "Without credentials, query or fragment: a key is kept as a secret";
  if (draft.ca.trim() !== "" && url?.protocol !== "https:") problems.ca = "Certificates prove nothing where the address is no https";
  if (draft.adapter.trim() === "") problems.adapter = "The protocol that it speaks";
  if (draft.secrets.length > 0 && draft.secret === "") problems.secret = "Choose the first key too";
  if (draft.models.length === 0) problems.models = "Name at least one model";
  const names = draft.models.map((model) => model.name.trim());
  draft.models.forEach((model, i) => {
    const name = names[i] ?? "";
    if (!/^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$/.test(name)) problems[`models.${i}.name`] = "As the provider names it, such as gpt-5-mini";
    else if (names.indexOf(name) < i) problems[`models.${i}.name`] = "This model is listed already";
    if (model.kinds.length === 0) problems[`models.${i}.kinds`] = "What does it do?";
    for (const [field, problem] of Object.entries(amountProblems(model))) problems[`models.${i}.${field}`] = problem;
  });
  return problems;
}
