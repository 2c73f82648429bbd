import { useQueries } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { keysOfQuery, MOST_IDS, type ApiKey } from "@/api/keys";

const PLAYGROUND: [string, string] = ["playground", "of the playground"];

/** The ids of keys among some names, each once, as often as the server is asked: so many at a time. */
export function idPages(names: readonly string[], most = MOST_IDS): string[][] {
  const ids = [...new Set(names.filter((name) => name.startsWith("key_")))].sort();
  return Array.from({ length: Math.ceil(ids.length / most) }, (_, page) => ids.slice(page * most, (page + 1) * most));
}

/** What these keys are called, by their ids; those who may not list keys read ids. */
export function useKeyNames(project: string, ids: readonly string[]): ReadonlyMap<string, string> {
  const pages = useMemo(() => idPages(ids), [ids.join(" ")]); // eslint-disable-line react-hooks/exhaustive-deps -- by what they say
  const combine = useCallback((found: { data: ApiKey[] | undefined }[]) => new Map([PLAYGROUND, ...found.flatMap(({ data }) => data ?? []).map((key): [string, string] => [key.id, key.name || key.id])]), []);
  return useQueries({ queries: pages.map((page) => ({ ...keysOfQuery(project, page), retry: false })), combine });
}
