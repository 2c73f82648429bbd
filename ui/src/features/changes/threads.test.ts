import { describe, expect, it } from "vitest";
import type { PromptPartDiff, Requirement, Thread } from "@/api/changes";
import { anchorAt, belongs, elsewhere, nameOf, obstacles, placeThreads } from "./threads";

const side = (digest: string) => ({ name: "bot", digest, version: "1.0.0", contract: "", order: "", expected_outcome: "" });
const DIFF: PromptPartDiff = { role: "system", change: "changed", old: side("old"), new: side("new"), contract_changed: false, floor: "patch", verdict: "kept", messages: [], variables: [], params: [], other: [] };

function thread(id: string, anchor: Partial<NonNullable<Thread["anchor"]>> | null): Thread {
  return {
    id,
    revision: 1,
    anchor: anchor && { kind: "prompt", part: "prompt.system", digest: "new", place: "current", message: 1, line: 2, row: null, quote: "", ...anchor },
    resolved: false,
    resolved_by: "",
    resolved_at: null,
    comments: [],
  };
}

describe("threads on lines", () => {
  const threads = [thread("here", {}), thread("moved", { digest: "earlier", place: "moved", message: 1, line: 5 }), thread("gone", { digest: "earlier", place: "outdated" }), thread("before", { digest: "old", place: "outdated", line: 3 }), thread("model", { part: "model.primary" }), thread("whole", null)];
  const placed = placeThreads(threads, DIFF);

  it("a thread stands at the line that it is about, also where that has moved", () => {
    expect(placed.at({ side: "new", message: 1, line: 2 }).map((t) => t.id)).toEqual(["here"]);
    expect(placed.at({ side: "new", message: 1, line: 5 }).map((t) => t.id)).toEqual(["moved"]);
    expect(placed.at({ side: "old", message: 1, line: 2 })).toEqual([]);
  });

  it("one about a line of the base stands at that, and one whose line is gone is not lost", () => {
    expect(placed.at({ side: "old", message: 1, line: 3 }).map((t) => t.id)).toEqual(["before"]);
    expect(placed.outdated.map((t) => t.id)).toEqual(["gone"]);
  });

  it("what no prompt shows is listed elsewhere", () => {
    expect(elsewhere(threads, [DIFF]).map((t) => t.id)).toEqual(["model", "whole"]);
  });

  it("a new comment names the prompt that its side pins", () => {
    expect(anchorAt(DIFF, { side: "old", message: 1, line: 4 })).toEqual({ part: "prompt.system", digest: "old", message: 1, line: 4, row: null });
    expect(anchorAt({ ...DIFF, old: null }, { side: "old", message: 1, line: 4 })).toBeNull();
  });
});

it("a view holds what a person looks for in it", () => {
  const mine = { state: "open", author_id: "me" } as const;
  const theirs = { state: "approved", author_id: "you" } as const;
  const draft = { state: "draft", author_id: "you" } as const;
  const merged = { state: "merged", author_id: "me" } as const;
  const of = (view: Parameters<typeof belongs>[1]) => [mine, theirs, draft, merged].map((change) => belongs(change, view, "me"));
  expect(of("open")).toEqual([true, true, true, false]);
  expect(of("mine")).toEqual([true, false, false, true]);
  expect(of("review")).toEqual([false, true, false, false]);
  expect(of("merged")).toEqual([false, false, false, true]);
});

it("an obstacle says what is missing", () => {
  const one = (passed: boolean, missing: string): Requirement => ({ kind: "approval", name: "two", pattern: "", passed, reason: "one of two", missing, who: [] });
  expect(obstacles([one(true, "x"), one(false, "`tetrad change approve 1`"), one(false, "")])).toEqual(["one of two"]);
});

it("a requirement has a name that people say", () => {
  expect(nameOf({ kind: "approval", name: "approval:prompt system bot" })).toBe("Approval of prompt system bot");
  expect(nameOf({ kind: "approval", name: "approval:graph answer" })).toBe("Approval of the parameters");
  expect(nameOf({ kind: "base", name: "base" })).toBe("Up to date");
  expect(nameOf({ kind: "suite", name: "suite:regression" })).toBe("Suite regression");
  expect(nameOf({ kind: "verdict", name: "" })).toBe("verdict");
});
