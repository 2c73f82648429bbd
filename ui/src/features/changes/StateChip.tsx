import type { ChangeState } from "@/api/changes";
import { Chip, type Tone } from "@/kit/Chips";

const STATES: Record<ChangeState, { tone: Tone; label: string }> = {
  draft: { tone: "neutral", label: "draft" },
  open: { tone: "accent", label: "open" },
  approved: { tone: "good", label: "approved" },
  changes_requested: { tone: "warn", label: "changes requested" },
  merged: { tone: "good", label: "merged" },
  closed: { tone: "neutral", label: "closed" },
};

export function StateChip({ state }: { state: ChangeState }) {
  const { tone, label } = STATES[state];
  return <Chip tone={tone}>{label}</Chip>;
}
