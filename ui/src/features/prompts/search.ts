import { PROMPT_SORTS, type PromptSort } from "@/api/prompts";

/** What the URL of a prompt's page says. */
export interface PromptSearch {
  tab?: "history" | "compare" | undefined;
  view?: "file" | "changes" | undefined;
  version?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
  new?: "1" | undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Reads a prompt's URL; what does not belong there is left out. */
export function readPromptSearch(search: Record<string, unknown>): PromptSearch {
  return {
    tab: search.tab === "history" || search.tab === "compare" ? search.tab : undefined,
    view: search.view === "file" || search.view === "changes" ? search.view : undefined,
    version: text(search.version),
    from: text(search.from),
    to: text(search.to),
    new: search.new === "1" ? "1" : undefined,
  };
}

export interface PromptsSearch {
  q?: string | undefined;
  sort?: PromptSort | undefined;
}

export function readPromptsSearch(search: Record<string, unknown>): PromptsSearch {
  return { q: text(search.q)?.slice(0, 63), sort: PROMPT_SORTS.find((sort) => sort === search.sort) };
}
