import { useQueries } from "@tanstack/react-query";
import type { ApiKey } from "@/api/keys";
import { limitsOfKeysQuery, type Limit } from "@/api/limits";
import { idPages } from "@/features/gateway/keyNames";

/**
 * The limits that hold for each key by itself, those of every key among them; of a key whose limits are not read, nothing.
 *
 * Each page of keys is asked for by itself, so that one more page leaves what is known of those before it as it is.
 */
export function useLimitsOf(project: string, pages: readonly (readonly Pick<ApiKey, "id">[])[]): ReadonlyMap<string, readonly Limit[]> {
  const asked = pages.flatMap((keys) => idPages(keys.map((key) => key.id)));
  return useQueries({
    queries: asked.map((ids) => limitsOfKeysQuery(project, ids)),
    combine: (found) => new Map(asked.flatMap((ids, i) => ofEach(ids, found[i]?.data))),
  });
}

function ofEach(ids: readonly string[], limits: readonly Limit[] | undefined): [string, Limit[]][] {
  return limits === undefined ? [] : ids.map((id) => [id, limits.filter((limit) => limit.subject === "key" && ["*", id].includes(limit.name))]);
}
