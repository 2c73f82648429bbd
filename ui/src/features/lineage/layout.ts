import ELK, { type ElkNode } from "elkjs/lib/elk.bundled.js";
import { SIZES, type Graph, type Placed } from "./graph";

const elk = new ELK();
const EDGE = 12;

/** Places a graph in layers from left to right: what was made stands right of what it was made from. */
export async function layOut(graph: Graph): Promise<Placed> {
  const wanted: ElkNode = {
    id: "graph",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": "RIGHT",
      "elk.edgeRouting": "ORTHOGONAL",
      "elk.layered.spacing.nodeNodeBetweenLayers": "44",
      "elk.spacing.nodeNode": "16",
      "elk.layered.spacing.edgeNodeBetweenLayers": "16",
      "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
    },
    children: graph.nodes.map((node) => ({ id: node.id, ...SIZES[node.type] })),
    edges: graph.edges.map((edge) => ({ id: edge.id, sources: [edge.source], targets: [edge.target] })),
  };
  const done = await elk.layout(wanted);
  return {
    width: (done.width ?? 0) + 2 * EDGE,
    height: (done.height ?? 0) + 2 * EDGE,
    at: new Map((done.children ?? []).map((node) => [node.id, { x: (node.x ?? 0) + EDGE, y: (node.y ?? 0) + EDGE }])),
    lines: new Map(
      (done.edges ?? []).map((edge) => {
        const section = edge.sections?.[0];
        const points = section ? [section.startPoint, ...(section.bendPoints ?? []), section.endPoint] : [];
        return [edge.id, points.map(({ x, y }) => ({ x: x + EDGE, y: y + EDGE }))];
      }),
    ),
  };
}
