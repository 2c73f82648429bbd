import { describe, expect, it } from "vitest";
import { canCancel, endedAt, isOpen, type Batch, type BatchCost } from "@/api/batches";
import { BATCH_WORDS, batchCost, doneOf, modelsOf, sharesOf, sizeOf, stateOf, tookOf, wayOf } from "./batchWords";

const STATUSES: Batch["status"][] = ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"];
const cost = (change: Partial<BatchCost> = {}): BatchCost => ({ calls: 3, unpriced_calls: 0, input_tokens: 1, output_tokens: 1, costs: [], ...change });
const usd = (amount: string) => ({ amount, currency: "USD" });

describe("a batch", () => {
  it("is open until it came to an end, and can be cancelled while its requests are to be called", () => {
    expect(STATUSES.filter((status) => isOpen({ status }))).toEqual(["validating", "in_progress", "finalizing", "cancelling"]);
    expect(STATUSES.filter((status) => canCancel({ status }))).toEqual(["validating", "in_progress"]);
    expect(new Set(STATUSES.map((status) => BATCH_WORDS[status].word)).size).toBe(STATUSES.length);
  });
  it("ended when it came to its last state", () => {
    expect(endedAt({ status: "in_progress", times: { in_progress: 7 }, created_at: 5 })).toBeNull();
    expect(endedAt({ status: "expired", times: { in_progress: 7, expired: 9 }, created_at: 5 })).toBe(9000);
  });
  it("tells how far it is, and that its requests were not counted yet", () => {
    expect(doneOf({ completed: 1200, failed: 34, total: 50000, status: "in_progress" })).toBe("1,234 of 50,000");
    expect(doneOf({ completed: 0, failed: 0, total: 0, status: "validating" })).toBe("not read yet");
    expect(doneOf({ completed: 0, failed: 0, total: 0, status: "failed" })).toBe("none answered");
    expect(sharesOf({ completed: 1, failed: 2, total: 4 })).toEqual({ good: 25, bad: 50 });
    expect(sharesOf({ completed: 0, failed: 0, total: 0 })).toEqual({ good: 0, bad: 0 });
  });
  it("tells its models, and of those that nobody noted that they are not known", () => {
    expect(modelsOf({ models: ["a/b", "c"], status: "validating" })).toBe("a/b, c");
    expect(modelsOf({ models: [], status: "validating" })).toBe("not read yet");
    for (const status of STATUSES.filter((each) => each !== "validating")) expect(modelsOf({ models: [], status })).toBe("not known");
  });
  it("is not all well where it came to its end with requests that failed", () => {
    expect(stateOf({ status: "completed", failed: 0 }).tone).toBe("good");
    expect(stateOf({ status: "completed", failed: 3 })).toMatchObject({ word: "completed", tone: "warn", tip: "Every request was answered, 3 with an error" });
    expect(stateOf({ status: "cancelled", failed: 3 }).tone).toBe("neutral");
  });
  it("took whole seconds, until now where it is not over", () => {
    expect(tookOf({ status: "failed", times: { failed: 5 }, created_at: 5 }, 0)).toBe("<1 s");
    expect(tookOf({ status: "completed", times: { completed: 47 }, created_at: 5 }, 0)).toBe("42 s");
    expect(tookOf({ status: "in_progress", times: {}, created_at: 5 }, 130_000)).toBe("2 m 05 s");
  });
  it("costs what is known and tells of what is not", () => {
    const over = { status: "completed" as const, completed: 3 };
    expect(batchCost(cost({ costs: [usd("2"), { amount: "1", currency: "EUR" }], unpriced_calls: 1 }), over)).toBe("$2.00 + €1.00 and 1 call of unknown price");
    expect(batchCost(cost({ unpriced_calls: 2 }), over)).toBe("2 calls of unknown price");
    expect(batchCost(cost({ calls: 0 }), { status: "in_progress", completed: 0 })).toBe("nothing yet");
    expect(batchCost(cost({ calls: 0 }), over)).toBe("not known: its traces are not kept");
    expect(batchCost(cost(), { status: "failed", completed: 0 })).toBe("nothing");
  });
  it("says how it is done", () => {
    const status = "in_progress";
    expect(wayOf({ way: "native", why: "", provider: "openai", status })).toBe("by the batch API of openai, at its price for batches");
    expect(wayOf({ way: "calls", why: "it calls a route", provider: "", status })).toBe("as calls, one by one: it calls a route");
    expect(wayOf({ way: "", why: "", provider: "", status })).toBe("not decided yet");
    expect(wayOf({ way: "", why: "", provider: "", status: "failed" })).toBe("not at all: it ended before");
    expect(sizeOf({ name: null, size: null })).toBe("gone: deleted or expired");
    expect(sizeOf({ name: "in.jsonl", size: 2048 })).toBe("2 KiB");
  });
});
