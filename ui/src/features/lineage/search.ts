/** How many steps of making and being made are shown. */
export const DEPTHS = [0, 1, 2, 3, 5, 10, 20] as const;

export interface LineageSearch {
  up?: number | undefined;
  down?: number | undefined;
  view?: "table" | undefined;
  node?: string | undefined;
}

/** Reads the URL of a lineage; what makes no sense there is left out. */
export function readLineageSearch(search: Record<string, unknown>): LineageSearch {
  const depth = (value: unknown): number | undefined => DEPTHS.find((d) => d !== 3 && String(d) === String(value));
  const [up, down] = [depth(search.up), depth(search.down)];
  return {
    ...(up === undefined ? {} : { up }),
    ...(down === undefined ? {} : { down }),
    ...(search.view === "table" ? { view: "table" as const } : {}),
    ...(typeof search.node === "string" && search.node !== "" ? { node: search.node } : {}),
  };
}
