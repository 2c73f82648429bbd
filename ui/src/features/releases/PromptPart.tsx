import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { promptDiffQuery, promptQuery, type Prompt, type PromptDiff as Diff } from "@/api/prompts";
import type { PromptDiff as Part } from "@/api/releases";
import { PromptDiff, type LineExtras } from "@/features/prompts/PromptDiff";
import type { MarkedLine } from "@/features/prompts/words";
import { Chip, type Tone } from "@/kit/Chips";
import { ErrorState, Loading } from "@/kit/States";
import { PartPanel } from "./PartPanel";

const FLOORS: Record<string, Tone> = { major: "bad", minor: "warn", patch: "good" };

/** A prompt of two releases told apart, with the lines between what changed; `extras` stand at and below lines. */
export function PromptPart({ project, part, extras, side, children }: { project: string; part: Part; extras?: LineExtras; side?: ReactNode; children?: ReactNode }) {
  const whole = useWhole(project, part);
  return (
    <PartPanel
      part="prompt"
      role={part.role}
      change={part.change}
      diff={part}
      project={project}
      side={side}
      note={
        <>
          {part.contract_changed && (
            <Chip tone="warn" tip={`The contract's change asks for a ${part.floor} version`}>
              contract changes
            </Chip>
          )}
          {part.verdict === "too-low" ? <Chip tone="bad">version too low: {part.floor} is asked</Chip> : part.floor !== "none" && <Chip tone={FLOORS[part.floor] ?? "neutral"}>{part.floor} change</Chip>}
        </>
      }
    >
      {whole.diff ? <PromptDiff diff={whole.diff} {...(extras ? { extras } : {})} /> : whole.error ? <ErrorState error={whole.error} /> : <Loading rows={4} />}
      {children}
    </PartPanel>
  );
}

/** The whole prompts side by side: a difference of the release has only what changed, and people need the lines between. */
function useWhole(project: string, part: Part): { diff: Diff | null; error: unknown } {
  const paired = part.old !== null && part.new !== null && part.old.name === part.new.name && part.old.version !== "" && part.new.version !== "" && part.old.version !== part.new.version;
  const both = useQuery({ ...promptDiffQuery(project, part.new?.name ?? "", part.old?.version ?? "", part.new?.version ?? ""), enabled: paired });
  const only = part.new ?? part.old;
  const one = useQuery({ ...promptQuery(project, only?.name ?? "", { digest: only?.digest }), enabled: !paired && only !== null && (part.old === null || part.new === null) });
  if (paired) return { diff: both.data ?? null, error: both.error };
  if (part.old === null || part.new === null) return { diff: one.data ? allOf(one.data, part.new === null ? "removed" : "added") : null, error: one.error };
  return { diff: onlyChanges(part), error: null };
}

function allOf(prompt: Prompt, change: "added" | "removed"): Diff {
  const mark = change === "added" ? "+" : "-";
  return {
    same: false,
    floor: { level: "major", changes: [] },
    messages: prompt.messages.map((message, n) => ({ change, role: message.role, old: change === "removed" ? n : null, new: change === "added" ? n : null, lines: message.content.split("\n").map((text) => ({ mark, text })) })),
    fields: [],
  };
}

/** What the release's own difference says: for prompts that go by two names, or by none. */
export function onlyChanges(part: Part): Diff {
  const fields = [...part.variables, ...part.params, ...part.other];
  return {
    // Another name or version with the same content.
    same: part.messages.length + fields.length === 0,
    floor: { level: part.floor, changes: [] },
    messages: part.messages.map((message) => ({
      change: message.change,
      role: message.role,
      old: message.old_place > 0 ? message.old_place - 1 : null,
      new: message.new_place > 0 ? message.new_place - 1 : null,
      lines: message.hunks.flatMap((hunk) => {
        const lines: MarkedLine[] = [...hunk.old.map((text) => ({ mark: "-", text })), ...hunk.new.map((text) => ({ mark: "+", text }))];
        if (lines[0]) lines[0].from = { old: hunk.old_start, new: hunk.new_start };
        return lines;
      }),
    })),
    fields: fields.map((value) => ({ path: value.path, change: value.change, old: value.old, new: value.new })),
  };
}
