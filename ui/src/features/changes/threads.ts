import type { Anchor, ChangeListed, PromptPartDiff, Requirement, Thread } from "@/api/changes";
import type { LinePlace } from "@/features/prompts/PromptDiff";
import type { ChangesView } from "./search";

/** The part of a patch that a prompt of a release is: `prompt.system`. */
export function partOf(diff: PromptPartDiff): string {
  return `prompt.${diff.role}`;
}

/** Whether a thread is about a part, also where another prompt stood in it at the time. */
function about(thread: Thread, diff: PromptPartDiff): boolean {
  return thread.anchor?.kind === "prompt" && thread.anchor.part === partOf(diff);
}

function key(place: LinePlace): string {
  return `${place.side} ${place.message} ${place.line}`;
}

export interface Placed {
  at: (place: LinePlace) => Thread[];
  /** About this part, but about a line that is not shown any more. */
  outdated: Thread[];
}

/** Puts threads to the lines of a difference: what the candidate still has to its line, what the base had to its own. */
export function placeThreads(threads: readonly Thread[], diff: PromptPartDiff): Placed {
  const found = new Map<string, Thread[]>();
  const outdated: Thread[] = [];
  for (const thread of threads) {
    if (!about(thread, diff) || thread.anchor === null) continue;
    const { place, message, line, digest } = thread.anchor;
    const side = place !== "outdated" ? "new" : digest === diff.old?.digest ? "old" : null;
    if (side === null || message === null || line === null) {
      outdated.push(thread);
      continue;
    }
    const at = key({ side, message, line });
    found.set(at, [...(found.get(at) ?? []), thread]);
  }
  return { at: (place) => found.get(key(place)) ?? [], outdated };
}

/** What to say of a line, as the API takes it: the line of the prompt that the side pins. */
export function anchorAt(diff: PromptPartDiff, place: LinePlace): Anchor | null {
  const side = place.side === "new" ? diff.new : diff.old;
  return side === null ? null : { part: partOf(diff), digest: side.digest, message: place.message, line: place.line, row: null };
}

/** Threads that no prompt of the difference shows: about the whole, about rows, about parts that are as before. */
export function elsewhere(threads: readonly Thread[], diffs: readonly PromptPartDiff[]): Thread[] {
  return threads.filter((thread) => !diffs.some((diff) => about(thread, diff)));
}

const ENDED = new Set(["merged", "closed"]);

/** Whether a change request belongs to a view, for a person. */
export function belongs(change: Pick<ChangeListed, "state" | "author_id">, view: ChangesView, me: string): boolean {
  if (view === "merged" || view === "closed") return change.state === view;
  if (view === "mine") return change.author_id === me;
  if (ENDED.has(change.state)) return false;
  return view === "open" || (change.state !== "draft" && change.author_id !== me);
}

/** Why a merge is not possible now, a sentence each; empty where it is. */
export function obstacles(requirements: readonly Requirement[]): string[] {
  return [...new Set(requirements.filter((each) => !each.passed).map((each) => each.reason || each.missing))];
}

/** What a requirement is called by people: `approval:prompt system bot` is the approval of a part. */
export function nameOf(requirement: Pick<Requirement, "kind" | "name">): string {
  const { kind, name } = requirement;
  if (kind === "state") return "Proposed";
  if (kind === "base") return "Up to date";
  const what = name.replace(/^[a-z-]+:/, "").replace(/^graph \S+$/, "the parameters");
  if (kind === "approval") return `Approval of ${what}`;
  return kind === "suite" ? `Suite ${what}` : name === "" ? kind : name;
}
