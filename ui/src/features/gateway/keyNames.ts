import { useQueries } from "@tanstack/react-query";
import { keysOfQuery, MOST_IDS, type ApiKey } from "@/api/keys";
import { useAdmin } from "@/features/session/useAdmin";

const PLAYGROUND: [string, string] = ["playground", "of the playground"];

/** The ids of keys among some names, each once, as often as the server is asked: so many at a time. */
export function idPages(names: readonly string[], most = MOST_IDS): string[][] {
  const ids = [...new Set(names.filter((name) => name.startsWith("key_")))].sort();
  return Array.from({ length: Math.ceil(ids.length / most) }, (_, page) => ids.slice(page * most, (page + 1) * most));
}

const named = (found: { data: ApiKey[] | undefined }[]): ReadonlyMap<string, string> => new Map([PLAYGROUND, ...found.flatMap(({ data }) => data ?? []).map((key): [string, string] => [key.id, key.name || key.id])]);

/** Somebody by name; who is not known by one is told by the end of the id: `key …9daf39e0`. */
export function whoOf(id: string, names: ReadonlyMap<string, string>): string {
  const [kind = "", code = ""] = id.split("_");
  return names.get(id) ?? (/^[0-9a-f]{16,}$/.test(code) ? `${kind} …${code.slice(-8)}` : id);
}

/** What these keys are called, by their ids; those who may not list keys read ids. */
export function useKeyNames(project: string, ids: readonly string[]): ReadonlyMap<string, string> {
  const admin = useAdmin();
  return useQueries({ queries: idPages(admin ? ids : []).map((page) => ({ ...keysOfQuery(project, page), retry: false })), combine: named });
}
