import { KEY_SORTS, KEY_STATES, type ApiKey, type KeySort } from "@/api/keys";

const MOST_CHARS = 100;

export interface KeysSearch {
  /** A part of the name, or what the secret ends in. */
  q?: string | undefined;
  state?: ApiKey["state"] | undefined;
  /** Without it the newest come first. */
  sort?: KeySort | undefined;
}

export function readKeysSearch(search: Record<string, unknown>): KeysSearch {
  const q = typeof search.q === "string" ? search.q.slice(0, MOST_CHARS) : "";
  const state = KEY_STATES.find((each) => each === search.state);
  const sort = KEY_SORTS.find((each) => each === search.sort);
  return { ...(q === "" ? {} : { q }), ...(state === undefined ? {} : { state }), ...(sort === undefined || sort === "-created" ? {} : { sort }) };
}
