import { expect, it } from "vitest";
import type { Activity, Lineage } from "@/api/registry";
import { graphOf, pathOf } from "./graph";

const activity = (id: string, kind: string, ...edges: [string, "in" | "out"][]): Activity => ({
  id,
  kind,
  actor: "ann",
  state: "done",
  started_at: "2026-01-01T00:00:00Z",
  ended_at: null,
  params: {},
  environment: {},
  edges: edges.map(([digest, direction]) => ({ digest, direction, role: kind, policy: "none" })),
});
const walk = (root: string, activities: Activity[], complete = true): Lineage => ({ root, complete, activities, artifacts: [{ digest: "m", kind: "model", name: "small", semver: "1.0.0", erased: false }] });

it("walks up and down become one graph in which artifacts and activities alternate", () => {
  const compose = activity("act_2", "compose", ["m", "in"], ["d", "in"], ["r", "out"]);
  const graph = graphOf("m", [walk("m", [activity("act_1", "import", ["m", "out"])]), walk("m", [compose])]);
  expect(graph.nodes.map((node) => node.id)).toEqual(["m", "act_1", "act_2", "d", "r"]);
  expect(graph.edges.map((edge) => [edge.source, edge.target])).toEqual([["act_1", "m"], ["m", "act_2"], ["d", "act_2"], ["act_2", "r"]]);
  const kinds = new Map(graph.nodes.map((node) => [node.id, node.type]));
  expect(graph.edges.every((edge) => kinds.get(edge.source) !== kinds.get(edge.target))).toBe(true);
  expect(graph.nodes[0]).toMatchObject({ label: { name: "small" } });
  expect(graph.complete).toBe(true);
});

it("what both walks met stands there once, and a walk that stopped is told", () => {
  const same = activity("act_1", "train", ["d", "in"], ["m", "out"]);
  const graph = graphOf("m", [walk("m", [same]), walk("m", [same], false)]);
  expect([graph.nodes.length, graph.edges.length, graph.complete]).toEqual([3, 2, false]);
});

it("an artifact of which nothing is known stands alone", () => {
  expect(graphOf("x", [undefined])).toMatchObject({ nodes: [{ id: "x" }], edges: [] });
});

it("a path begins and ends where its points do", () => {
  expect(pathOf([])).toBe("");
  expect(pathOf([{ x: 0, y: 0 }, { x: 10, y: 0 }])).toBe("M0 0L10 0");
  const bent = pathOf([{ x: 0, y: 0 }, { x: 20, y: 0 }, { x: 20, y: 20 }]);
  expect(bent).toBe("M0 0L14 0Q20 0 20 6L20 20");
});
