import { endedAt, isOpen, type Batch, type BatchCost, type BatchFile } from "@/api/batches";
import type { Tone } from "@/kit/Chips";
import { bytes, count, duration, money, plural } from "@/kit/format";

/** Each state a batch can be in, with the tone and the meaning of it. */
export const BATCH_WORDS: Record<Batch["status"], { word: string; tone: Tone; tip: string }> = {
  validating: { word: "validating", tone: "neutral", tip: "Its requests are checked; none is called before all are" },
  in_progress: { word: "in progress", tone: "accent", tip: "Its requests are called, or are with their provider" },
  finalizing: { word: "finalizing", tone: "accent", tip: "Its answers are written to files" },
  completed: { word: "completed", tone: "good", tip: "Every request was answered" },
  failed: { word: "failed", tone: "bad", tip: "It stopped before its end; what was answered is kept" },
  expired: { word: "expired", tone: "warn", tip: "Its time was over before all requests were answered; what was answered is kept" },
  cancelling: { word: "cancelling", tone: "neutral", tip: "Requests that are under way end, and no more are begun" },
  cancelled: { word: "cancelled", tone: "neutral", tip: "Somebody cancelled it; what was answered is kept" },
};

/** `12 of 50`; of one whose requests were not read nobody knows how many they are. */
export function doneOf({ completed, failed, total, status }: Pick<Batch, "completed" | "failed" | "total" | "status">): string {
  if (total === 0) return status === "validating" ? "not read yet" : "none answered";
  return `${count(completed + failed)} of ${count(total)}`;
}

/** The models of its requests; none are known of one that ended before they were read, or was made when they were not noted. */
export function modelsOf({ models, status }: Pick<Batch, "models" | "status">): string {
  if (models.length > 0) return models.join(", ");
  return status === "validating" ? "not read yet" : "not known";
}

/** A state with its tone: a batch that came to its end with requests that failed is not all well. */
export function stateOf({ status, failed }: Pick<Batch, "status" | "failed">): { word: string; tone: Tone; tip: string } {
  const state = BATCH_WORDS[status];
  return status === "completed" && failed > 0 ? { ...state, tone: "warn", tip: `Every request was answered, ${count(failed)} with an error` } : state;
}

/** How long a batch took or takes; its times are whole seconds. */
export function tookOf(batch: Pick<Batch, "status" | "times" | "created_at">, now: number): string {
  const ms = Math.max(0, (endedAt(batch) ?? now) - batch.created_at * 1000);
  if (ms < 1000) return "<1 s";
  return ms < 60_000 ? `${Math.floor(ms / 1000)} s` : duration(ms);
}

/** What shares of its requests were answered well and badly, in per cent. */
export function sharesOf({ completed, failed, total }: Pick<Batch, "completed" | "failed" | "total">): { good: number; bad: number } {
  return total === 0 ? { good: 0, bad: 0 } : { good: (completed * 100) / total, bad: (failed * 100) / total };
}

/** What the requests of a batch cost, so far as spans tell. */
export function batchCost(cost: BatchCost, batch: Pick<Batch, "completed" | "status">): string {
  const sums = cost.costs.map(({ amount, currency }) => money(amount, currency)).join(" + ");
  const unpriced = cost.unpriced_calls === 0 ? "" : `${plural(cost.unpriced_calls, "call")} of unknown price`;
  if (sums !== "" || unpriced !== "") return [sums, unpriced].filter((text) => text !== "").join(" and ");
  if (isOpen(batch)) return "nothing yet";
  return batch.completed === 0 ? "nothing" : "not known: its traces are not kept";
}

/** How its requests are done, and why so. */
export function wayOf({ way, why, provider, status }: Pick<Batch, "way" | "why" | "provider" | "status">): string {
  if (way === "native") return `by the batch API of ${provider}, at its price for batches`;
  if (way === "calls") return `as calls, one by one${why === "" ? "" : `: ${why}`}`;
  return isOpen({ status }) ? "not decided yet" : "not at all: it ended before";
}

export const FILE_WORDS: Record<BatchFile["role"], string> = { input: "Requests", output: "Answers", errors: "Errors" };

/** A file's size; of one that is gone that it is. */
export const sizeOf = ({ name, size }: Pick<BatchFile, "name" | "size">): string => (name === null ? "gone: deleted or expired" : bytes(size));
