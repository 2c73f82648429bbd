import { useEffect, useRef, useState } from "react";
import { ErrorState } from "@/kit/States";
import { PartGlyph, type PartName } from "@/kit/Mark";
import { nameOf } from "./ArtifactLink";
import { pathOf, SIZES, type Graph, type GraphNode, type Placed } from "./graph";
import { layOut } from "./layout";
import css from "./lineage.module.css";

const PARTS: Record<string, PartName> = { code: "code", dataset: "data", model: "model", prompt: "prompt" };

/** The graph drawn: nodes are buttons in reading order, lines say what the chosen one touches. */
export default function GraphView({ graph, chosen, onChoose }: { graph: Graph; chosen: string | undefined; onChoose: (id: string) => void }) {
  const [placed, setPlaced] = useState<{ graph: Graph; layout: Placed } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const scroller = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let gone = false;
    layOut(graph).then(
      (layout) => {
        if (!gone) setPlaced({ graph, layout });
      },
      (failure: unknown) => {
        if (!gone) setError(failure);
      },
    );
    return () => {
      gone = true;
    };
  }, [graph]);

  const layout = placed?.layout;
  useEffect(() => {
    const root = layout?.at.get(graph.root);
    const box = scroller.current;
    // The artifact that was asked for comes into sight first.
    if (root && box) box.scrollTo({ left: root.x - box.clientWidth / 2 + SIZES.artifact.width / 2, top: root.y - box.clientHeight / 2 });
  }, [layout, graph.root]);

  if (error !== null) return <ErrorState error={error} />;
  if (placed === null || layout === undefined) return <div className={css.canvas} aria-busy="true" role="status" aria-label="Laying out" />;
  const nodes = placed.graph.nodes.flatMap((node) => {
    const at = layout.at.get(node.id);
    return at ? [{ node, at }] : [];
  });
  nodes.sort((a, b) => a.at.x - b.at.x || a.at.y - b.at.y);
  return (
    <div ref={scroller} className={css.canvas} role="group" aria-label="Lineage graph">
      <div className={css.plane} style={{ width: layout.width, height: layout.height }}>
        <svg width={layout.width} height={layout.height} aria-hidden="true" className={css.lines}>
          <defs>
            <marker id="lineage-end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
              <path d="M0 0.8 L7 4 L0 7.2" fill="none" stroke="context-stroke" strokeWidth="1.3" />
            </marker>
          </defs>
          {placed.graph.edges.map((edge) => (
            <path key={edge.id} d={pathOf(layout.lines.get(edge.id) ?? [])} className={css.line} data-lit={edge.source === chosen || edge.target === chosen} markerEnd="url(#lineage-end)" />
          ))}
        </svg>
        {nodes.map(({ node, at }) => (
          <button key={node.id} type="button" className={node.type === "artifact" ? css.node : css.activity} data-root={node.id === graph.root} data-chosen={node.id === chosen} aria-pressed={node.id === chosen} style={{ left: at.x, top: at.y, ...SIZES[node.type] }} onClick={() => onChoose(node.id)}>
            {node.type === "artifact" ? <ArtifactFace node={node} root={graph.root} /> : node.activity.kind}
          </button>
        ))}
      </div>
    </div>
  );
}

function ArtifactFace({ node, root }: { node: Extract<GraphNode, { type: "artifact" }>; root: string }) {
  const part = PARTS[node.label?.kind ?? ""];
  return (
    <>
      <span className={css.kind}>
        {part ? <PartGlyph part={part} size={11} /> : null}
        {node.label?.kind ?? "artifact"}
        {node.label?.erased && " · erased"}
      </span>{" "}
      <span className={css.name}>{nameOf(node.digest, node.label)}</span>
      {node.id === root && <span className="unseen">, the one asked for</span>}
    </>
  );
}
