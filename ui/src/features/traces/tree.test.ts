import { describe, expect, it } from "vitest";
import { buildTree, ticks, visibleRows, type TreeSpan } from "./tree";

const span = (span_id: string, parent_id: string, start: number, end = start + 1): TreeSpan => ({
  span_id,
  parent_id,
  start_ns: String(1_795_400_000_000_000_000n + BigInt(start) * 1_000_000n),
  end_ns: String(1_795_400_000_000_000_000n + BigInt(end) * 1_000_000n),
});
const ids = (list: TreeSpan[], folded: string[] = []) => visibleRows(buildTree(list), new Set(folded)).map((r) => `${"·".repeat(r.depth)}${r.span.span_id}`);

describe("the tree of a trace", () => {
  it("puts children under parents, in the order of their start", () => {
    expect(ids([span("c", "a", 5), span("a", "", 0, 10), span("b", "a", 2), span("d", "b", 3)])).toEqual(["a", "·b", "··d", "·c"]);
  });
  it("is nothing for nothing", () => {
    const tree = buildTree([]);
    expect(visibleRows(tree, new Set())).toEqual([]);
    expect(tree.duration_ms).toBe(0);
  });
  it("shows a span whose parent never came", () => {
    expect(ids([span("a", "", 0), span("lost", "elsewhere", 1)])).toEqual(["a", "lost"]);
  });
  it("shows every span of a loop of parents once", () => {
    expect(ids([span("x", "y", 1), span("y", "x", 2), span("self", "self", 0)])).toEqual(["self", "x", "·y"]);
  });
  it("takes a span that came twice once", () => {
    expect(ids([span("a", "", 0), span("a", "", 0)])).toEqual(["a"]);
  });
  it("orders spans that start together by id, so that a reload does not shuffle them", () => {
    expect(ids([span("r", "", 0), span("b", "r", 1), span("a", "r", 1)])).toEqual(["r", "·a", "·b"]);
  });
  it("hides what is below a folded span and says how much", () => {
    const list = [span("a", "", 0), span("b", "a", 1), span("c", "b", 2), span("d", "b", 3)];
    expect(ids(list, ["b"])).toEqual(["a", "·b"]);
    expect(visibleRows(buildTree(list), new Set(["b"]))[1]?.descendants).toBe(2);
    expect(visibleRows(buildTree(list), new Set())[0]?.descendants).toBe(3);
  });
  it("places a span by nanoseconds that no float can hold", () => {
    const a = { span_id: "a", parent_id: "", start_ns: "1795400000123456789", end_ns: "1795400000123458789" };
    const b = { span_id: "b", parent_id: "a", start_ns: "1795400000123457789", end_ns: "1795400000123457790" };
    const rows = visibleRows(buildTree([a, b]), new Set());
    expect(rows[0]?.duration_ms).toBe(0.002);
    expect(rows[1]?.offset_ms).toBe(0.001);
  });
  it("survives a span that ends before it starts", () => {
    expect(visibleRows(buildTree([span("a", "", 10, 5)]), new Set())[0]?.duration_ms).toBe(0);
  });
  it("builds a chain of 50,000 spans without recursion", () => {
    const list = Array.from({ length: 50_000 }, (_, i) => span(`s${i}`, i === 0 ? "" : `s${i - 1}`, i));
    const rows = visibleRows(buildTree(list), new Set());
    expect(rows).toHaveLength(50_000);
    expect(rows.at(-1)?.depth).toBe(49_999);
    expect(rows[0]?.descendants).toBe(49_999);
  });
});

describe("the marks of the time axis", () => {
  it.each([
    [100, 5, [0, 20, 40, 60, 80, 100]],
    [1234, 6, [0, 500, 1000]],
    [0.9, 4, [0, 0.5]],
    [0, 6, [0]],
  ])("%d ms in at most %d steps", (length, most, marks) => expect(ticks(length, most)).toEqual(marks));
});
