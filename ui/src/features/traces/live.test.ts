import { expect, it } from "vitest";
import type { TraceRow } from "@/api/traces";
import { mergeRows } from "./live";

const row = (trace_id: string, spans = 2) => ({ trace_id, spans }) as TraceRow;

it("a trace that is both live and listed is shown once, by its fresher row", () => {
  const merged = mergeRows([row("b"), row("a", 9)], [row("a"), row("c")]);
  expect(merged.map((r) => [r.trace_id, r.spans])).toEqual([["b", 2], ["a", 9], ["c", 2]]);
});
