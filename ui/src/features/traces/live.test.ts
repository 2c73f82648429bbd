import { describe, expect, it } from "vitest";
import type { TraceRow } from "@/api/traces";
import { matches, mergeRows } from "./live";

const row = (trace_id: string, more: Partial<TraceRow> = {}): TraceRow => ({
  trace_id, name: "POST /v1/chat/completions", status: "ok", start_ns: "1", duration_ms: 100, first_token_ms: null, app: "assistant", ref: "production",
  release: "sha256:abcd", model: "local/m", session: "s", user: "u", spans: 2, errors: 0, usage: { input: 1, cache_read: 0, cache_write: 0, output: 1, reasoning: 0 },
  cost: null, currency: "USD", code_match: "", input_preview: "Hello there", output_preview: "General", ...more,
});

describe("live rows obey the filters of the list", () => {
  it.each([[{}, true], [{ app: "assistant" }, true], [{ app: "assist" }, false], [{ status: "error" }, false], [{ release: "abc" }, true], [{ release: "sha256:ab" }, true], [{ release: "b" }, false], [{ name: "chat" }, true], [{ min: 101 }, false], [{ min: 100 }, true], [{ text: "hello" }, true], [{ text: "general" }, true], [{ text: "kenobi" }, false], [{ app: "assistant", user: "x" }, false]] as const)("%j → %s", (filters, shown) => expect(matches(row("a"), filters)).toBe(shown));
});

it("a trace that is both live and listed is shown once, by its fresher row", () => {
  const merged = mergeRows([row("b"), row("a", { spans: 9 })], [row("a"), row("c")]);
  expect(merged.map((r) => [r.trace_id, r.spans])).toEqual([["b", 2], ["a", 9], ["c", 2]]);
});
