import { describe, expect, it } from "vitest";
import { canCancel, endedAt, isOpen, type Batch, type BatchCost } from "@/api/batches";
import { BATCH_WORDS, batchCost, doneOf, sharesOf, sizeOf, wayOf } from "./batchWords";

const STATUSES: Batch["status"][] = ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"];
const cost = (change: Partial<BatchCost> = {}): BatchCost => ({ calls: 3, unpriced_calls: 0, input_tokens: 1, output_tokens: 1, costs: [], ...change });
const usd = (amount: string) => ({ amount, currency: "USD" });

describe("a batch", () => {
  it("is open until it came to an end, and can be cancelled while its requests are to be called", () => {
    expect(STATUSES.filter((status) => isOpen({ status }))).toEqual(["validating", "in_progress", "finalizing", "cancelling"]);
    expect(STATUSES.filter((status) => canCancel({ status }))).toEqual(["validating", "in_progress"]);
    expect(STATUSES.map((status) => BATCH_WORDS[status].word)).not.toContain(undefined);
  });
  it("ended when it came to its last state", () => {
    expect(endedAt({ status: "in_progress", times: { in_progress: 7 }, created_at: 5 })).toBeNull();
    expect(endedAt({ status: "expired", times: { in_progress: 7, expired: 9 }, created_at: 5 })).toBe(9000);
  });
  it("tells how far it is, and that its requests were not counted yet", () => {
    expect(doneOf({ completed: 1200, failed: 34, total: 50000, status: "in_progress" })).toBe("1,234 of 50,000");
    expect(doneOf({ completed: 0, failed: 0, total: 0, status: "validating" })).toBe("not read yet");
    expect(doneOf({ completed: 0, failed: 0, total: 0, status: "failed" })).toBe("none");
    expect(sharesOf({ completed: 1, failed: 2, total: 4 })).toEqual({ good: 25, bad: 50 });
    expect(sharesOf({ completed: 0, failed: 0, total: 0 })).toEqual({ good: 0, bad: 0 });
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
    expect(wayOf({ way: "native", why: "", provider: "openai" })).toBe("by the batch API of openai, at its price for batches");
    expect(wayOf({ way: "calls", why: "it calls a route", provider: "" })).toBe("as calls, one by one: it calls a route");
    expect(wayOf({ way: "", why: "", provider: "" })).toBe("not decided yet");
    expect(sizeOf({ name: null, size: null })).toBe("gone: deleted or expired");
    expect(sizeOf({ name: "in.jsonl", size: 2048 })).toBe("2 KiB");
  });
});
