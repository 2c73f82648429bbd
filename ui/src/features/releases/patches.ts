import type { Release } from "@/api/apps";

export type Patches = Record<string, unknown>;
export type PartKind = "prompt" | "model" | "data";

/** A part of a release that can become another one. */
export interface Slot {
  /** How the API names it: `prompt.system`, `data.fewshot/NAME`. */
  key: string;
  kind: PartKind;
  role: string;
  name: string;
  version: string;
}

/** The parts of a release that can be replaced; of several with one role each is named too. Code stays as it is. */
export function slotsOf(release: Pick<Release, "prompt" | "model" | "data">): Slot[] {
  return (["prompt", "model", "data"] as const).flatMap((kind) => {
    const parts: { role: string; name: string; version: string }[] = release[kind];
    return parts.map(({ role, name, version }) => ({ key: `${kind}.${role}${parts.filter((p) => p.role === role).length > 1 ? `/${name}` : ""}`, kind, role, name, version }));
  });
}

/** Reads the patches of a URL; what is no object of patches is none. */
export function readPatches(text: string | undefined): Patches {
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
    return Object.fromEntries(Object.entries(value).filter(([key]) => /^(prompt|model|data|sampling)\./.test(key)));
  } catch {
    return {};
  }
}

/** The patches as the URL holds them; none at all are left out. */
export function writePatches(patches: Patches): string | undefined {
  return Object.keys(patches).length === 0 ? undefined : JSON.stringify(patches);
}

/** The patches with one more, another value, or one less (undefined). Null takes the part away. */
export function patched(patches: Patches, key: string, value: unknown): Patches {
  if (value === undefined) return Object.fromEntries(Object.entries(patches).filter(([name]) => name !== key));
  return { ...patches, [key]: value };
}

/** What somebody wrote for a parameter: a number, true, false, JSON, else a text. Empty is undefined: as it was. */
export function readParameter(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  try {
    return JSON.parse(trimmed) as unknown;
  } catch {
    return trimmed;
  }
}

/** The name and version of `NAME@VERSION`. */
export function splitReference(value: unknown): { name: string; version: string } {
  if (typeof value !== "string") return { name: "", version: "" };
  const at = value.lastIndexOf("@");
  return at < 0 ? { name: value, version: "" } : { name: value.slice(0, at), version: value.slice(at + 1) };
}
