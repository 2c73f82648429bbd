import type { Activity, Label, Lineage } from "@/api/registry";

export interface ArtifactNode {
  id: string;
  type: "artifact";
  digest: string;
  label: Label | undefined;
}
export interface ActivityNode {
  id: string;
  type: "activity";
  activity: Activity;
}
export type GraphNode = ArtifactNode | ActivityNode;

export interface GraphEdge {
  id: string;
  source: string;
  target: string;
  role: string;
  /** What a change of the source means for the target: rebuild, revalidate, reevaluate, none. */
  policy: string;
}

export interface Graph {
  root: string;
  nodes: GraphNode[];
  edges: GraphEdge[];
  /** False where a walk stopped at its depth or at a limit: there is more. */
  complete: boolean;
}

/** A graph of more nodes is told as a table: nobody reads it drawn, and laying it out takes seconds. */
export const MOST_DRAWN = 250;

/** What walks up and down from an artifact found, as one graph: artifacts and activities alternate along its edges. */
export function graphOf(root: string, walks: readonly (Lineage | undefined)[]): Graph {
  const found = walks.filter((walk) => walk !== undefined);
  const labels = new Map(found.flatMap((walk) => walk.artifacts.map((label) => [label.digest, label] as const)));
  const nodes = new Map<string, GraphNode>([[root, artifact(root, labels)]]);
  const edges = new Map<string, GraphEdge>();
  for (const activity of found.flatMap((walk) => walk.activities)) {
    nodes.set(activity.id, { id: activity.id, type: "activity", activity });
    for (const { digest, direction, role, policy } of activity.edges) {
      if (!nodes.has(digest)) nodes.set(digest, artifact(digest, labels));
      const [source, target] = direction === "in" ? [digest, activity.id] : [activity.id, digest];
      const id = `${source} ${target} ${role}`;
      edges.set(id, { id, source, target, role, policy });
    }
  }
  return { root, nodes: [...nodes.values()], edges: [...edges.values()], complete: found.every((walk) => walk.complete) };
}

function artifact(digest: string, labels: Map<string, Label>): ArtifactNode {
  return { id: digest, type: "artifact", digest, label: labels.get(digest) };
}

export interface Placed {
  width: number;
  height: number;
  at: Map<string, { x: number; y: number }>;
  /** Lines by edge, from source to target. */
  lines: Map<string, { x: number; y: number }[]>;
}

export const SIZES = { artifact: { width: 196, height: 46 }, activity: { width: 132, height: 30 } } as const;

/** A line through points as the `d` of a path, its corners rounded. */
export function pathOf(points: { x: number; y: number }[], radius = 6): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let d = `M${first.x} ${first.y}`;
  rest.forEach((point, i) => {
    const next = rest[i + 1];
    const before = i === 0 ? first : rest[i - 1];
    if (next === undefined || before === undefined) {
      d += `L${point.x} ${point.y}`;
      return;
    }
    const cut = (from: { x: number; y: number }): { x: number; y: number } => {
      const length = Math.hypot(from.x - point.x, from.y - point.y) || 1;
      const share = Math.min(radius, length / 2) / length;
      return { x: point.x + (from.x - point.x) * share, y: point.y + (from.y - point.y) * share };
    };
    const [a, b] = [cut(before), cut(next)];
    d += `L${a.x} ${a.y}Q${point.x} ${point.y} ${b.x} ${b.y}`;
  });
  return d;
}
