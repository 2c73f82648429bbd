import type { Preset } from "@/api/gateway";
import type { ProviderDraft } from "./providerForm";

/** An address with its `{places}` filled in; those that are not given stay as they are. */
export function addressOf(template: string, places: Readonly<Record<string, string>>): string {
  return template.replace(/\{([a-z_]+)\}/g, (whole, name: string) => {
    const given = places[name]?.trim() ?? "";
    return given === "" ? whole : given;
  });
}

/** A new draft as a preset describes it; what of its address has to be given is empty. */
export function presetDraft(draft: ProviderDraft, preset: Preset, taken: readonly string[]): ProviderDraft {
  return {
    ...draft,
    name: freeName(preset.name, taken),
    adapter: preset.adapter,
    system: preset.system || preset.name,
    auth: preset.auth,
    options: preset.options,
    operations: preset.operations,
    base_url: preset.base_url,
    template: preset.base_url,
    places: Object.fromEntries(preset.places.map((place) => [place, ""])),
  };
}

/** `azure`, or `azure-2` where that is taken. */
export function freeName(name: string, taken: readonly string[]): string {
  if (!taken.includes(name)) return name;
  for (let n = 2; ; n++) if (!taken.includes(`${name}-${n}`)) return `${name}-${n}`;
}

/** A draft with another value of a place; a region is an option too, for those who sign by it. */
export function withPlace(draft: ProviderDraft, place: string, value: string): ProviderDraft {
  const places = { ...draft.places, [place]: value };
  const options = { ...draft.options };
  if (place === "region") {
    if (value.trim() === "") delete options.region;
    else options.region = value.trim();
  }
  return { ...draft, places, options, base_url: addressOf(draft.template, places) };
}

/** What a preset notes for the command line, in the words of the form. */
export function noteOf(note: string): string {
  const words = note
    .replace(/--deployment MODEL=NAME/g, "“Called” of a model")
    .replace(/--auth (\w+)/g, "the login “$1”")
    .replace(/--option (\S+)/g, "the option $1")
    .replace(/--base-url( https?:\S+)?/g, (_, url: string | undefined) => `the address${url ?? ""}`);
  return words === "" ? "" : `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

/** What a model of this name most likely does. */
export function kindOf(name: string): string {
  const low = name.toLowerCase();
  const known: [RegExp, string][] = [
    [/embed/, "embeddings"],
    [/rerank/, "rerank"],
    [/moderation/, "moderations"],
    [/whisper|transcrib/, "transcriptions"],
    [/(^|[^a-z])tts([^a-z]|$)/, "speech"],
    [/dall-e|gpt-image|imagen/, "images"],
  ];
  return known.find(([form]) => form.test(low))?.[1] ?? "chat";
}

/** Whether how the key is used is worth a question of its own: where a provider takes more than one kind. */
export function loginMatters({ adapter, auth }: Pick<ProviderDraft, "adapter" | "auth">): boolean {
  return auth !== "" || ["azure", "bedrock", "gemini", "invocations", "vertex-anthropic"].includes(adapter);
}
