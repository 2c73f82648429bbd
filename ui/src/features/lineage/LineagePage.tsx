import { SegmentedControl, Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import { lineageQuery, type Label } from "@/api/registry";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { shown } from "@/kit/Diff";
import { plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { ArtifactLink, nameOf } from "./ArtifactLink";
import { graphOf, MOST_DRAWN, type Graph, type GraphNode } from "./graph";
import css from "./lineage.module.css";
import { DEPTHS, type LineageSearch } from "./search";

const GraphView = lazy(() => import("./GraphView"));
const route = getRouteApi("/signed-in/p/$project/lineage/$digest");

/** What an artifact was made from and what was made from it, drawn or as a table. */
export function LineagePage() {
  const { project, digest } = route.useParams();
  const { up = 3, down = 3, view = "graph", node: chosen } = route.useSearch();
  const navigate = route.useNavigate();
  const upstream = useQuery(lineageQuery(project, digest, "upstream", Math.max(up, 1)));
  const downstream = useQuery(lineageQuery(project, digest, "downstream", Math.max(down, 1)));
  const graph = useMemo(() => graphOf(digest, [up > 0 ? upstream.data : undefined, down > 0 ? downstream.data : undefined]), [digest, up, down, upstream.data, downstream.data]);
  const label = upstream.data?.artifacts.find((each) => each.digest === digest);
  const set = (next: LineageSearch): void => void navigate({ search: (old) => withSearch<LineageSearch>(old, next), replace: true });
  const failed = upstream.isError ? upstream : downstream.isError ? downstream : null;
  const ready = upstream.data !== undefined && downstream.data !== undefined;
  const drawn = view === "graph" && graph.nodes.length <= MOST_DRAWN;
  const picked = graph.nodes.find((node) => node.id === chosen);
  const name = nameOf(digest, label);
  return (
    <Page
      title={`Lineage of ${name}`}
      heading={
        <Crumbs up={[label ? <ArtifactLink key="a" project={project} digest={digest} label={label} /> : <span key="d" className="mono">{shortDigest(digest, 12)}</span>]}>Lineage</Crumbs>
      }
      side={
        <>
          <Depth label="Back" value={up} onChange={(value) => set({ up: value === 3 ? undefined : value, node: undefined })} />
          <Depth label="Onward" value={down} onChange={(value) => set({ down: value === 3 ? undefined : value, node: undefined })} />
          <SegmentedControl aria-label="View" value={view} data={[{ value: "graph", label: "Graph" }, { value: "table", label: "Table" }]} onChange={(value) => set({ view: value === "table" ? "table" : undefined })} />
        </>
      }
    >
      {!ready ? (
        <Panel label="Lineage">{failed ? <ErrorState error={failed.error} retry={() => void failed.refetch()} busy={failed.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : graph.edges.length === 0 ? (
        <Panel label="Lineage">
          <EmptyState title="Nothing stands around this artifact">It was recorded without what it was made from, and nothing was made from it yet. Widen the steps, or compose a release of it.</EmptyState>
        </Panel>
      ) : (
        <div className={css.split} data-picked={picked !== undefined}>
          <Panel
            title={plural(graph.nodes.filter((n) => n.type === "artifact").length, "artifact")}
            note={`${plural(graph.nodes.filter((n) => n.type === "activity").length, "activity", "activities")} between them${graph.complete ? "" : "; there is more beyond these steps"}${view === "graph" && !drawn ? `; more than ${MOST_DRAWN} are shown as a table` : ""}`}
            flush
          >
            {drawn ? (
              <Suspense fallback={<div className={css.canvas} aria-busy="true" />}>
                <GraphView graph={graph} chosen={chosen} onChoose={(id) => set({ node: id === chosen ? undefined : id })} />
              </Suspense>
            ) : (
              <GraphTable project={project} graph={graph} />
            )}
          </Panel>
          {picked && <Picked project={project} graph={graph} node={picked} close={() => set({ node: undefined })} />}
        </div>
      )}
    </Page>
  );
}

function Depth({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <label className={css.depth}>
      {label}
      <Select aria-label={`${label}: steps`} value={String(value)} data={DEPTHS.map((d) => ({ value: String(d), label: d === 0 ? "none" : plural(d, "step") }))} onChange={(text) => onChange(Number(text))} allowDeselect={false} w={96} />
    </label>
  );
}

function labelsOf(graph: Graph): Map<string, Label | undefined> {
  return new Map(graph.nodes.flatMap((node) => (node.type === "artifact" ? [[node.digest, node.label]] : [])));
}

/** The same as the graph, activity by activity, for those who read rather than look. */
function GraphTable({ project, graph }: { project: string; graph: Graph }) {
  const labels = labelsOf(graph);
  const links = (ids: string[]) => (
    <span className={css.links}>
      {ids.map((id) => (
        <span key={id}>
          <span className="dim">{labels.get(id)?.kind ?? "artifact"}</span> <ArtifactLink project={project} digest={id} label={labels.get(id)} />
        </span>
      ))}
    </span>
  );
  return (
    <Scroll label="Lineage as a table">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">Activity</th>
            <th scope="col">To</th>
            <th scope="col">When</th>
            <th scope="col">By</th>
          </tr>
        </thead>
        <tbody>
          {graph.nodes.map(
            (node) =>
              node.type === "activity" && (
                <tr key={node.id}>
                  <td>{links(graph.edges.filter((e) => e.target === node.id).map((e) => e.source))}</td>
                  <td>
                    <Chip tone="accent">{node.activity.kind}</Chip>
                  </td>
                  <td>{links(graph.edges.filter((e) => e.source === node.id).map((e) => e.target))}</td>
                  <td style={{ whiteSpace: "nowrap" }}>
                    <Ago at={node.activity.ended_at ?? node.activity.started_at} />
                  </td>
                  <td>{node.activity.actor}</td>
                </tr>
              ),
          )}
        </tbody>
      </table>
    </Scroll>
  );
}

/** What is known of the chosen node, and ways on from it. */
function Picked({ project, graph, node, close }: { project: string; graph: Graph; node: GraphNode; close: () => void }) {
  const hide = (
    <button type="button" className={css.close} onClick={close}>
      Close
    </button>
  );
  if (node.type === "artifact")
    return (
      <Panel title={nameOf(node.digest, node.label)} note={node.label?.kind} side={hide} label="Chosen">
        <Facts
          items={[
            [
              "Digest",
              <span key="d" className={css.digest}>
                <span className="mono">{shortDigest(node.digest, 16)}</span>
                <CopyButton value={node.digest} what="digest" size="xs" />
              </span>,
            ],
            ["State", node.label?.erased ? "erased: its content is gone, its digest stays" : ""],
          ]}
        />
        <p className={css.ways}>
          {node.label !== undefined && ["dataset", "model", "release"].includes(node.label.kind) && (
            <ArtifactLink project={project} digest={node.digest} label={node.label}>
              Open the {node.label.kind}
            </ArtifactLink>
          )}
          {node.digest !== graph.root && (
            <Link to="/p/$project/lineage/$digest" params={{ project, digest: node.digest }} className="link">
              Centre the graph here
            </Link>
          )}
        </p>
      </Panel>
    );
  const { activity } = node;
  const labels = labelsOf(graph);
  return (
    <Panel title={activity.kind} note={activity.state} side={hide} label="Chosen">
      <Facts
        items={[
          ["When", <Ago key="w" at={activity.ended_at ?? activity.started_at} />],
          ["By", activity.actor],
          ...activity.edges.map((edge): [string, React.ReactNode] => [edge.direction === "in" ? `From, ${edge.role}` : `Made, ${edge.role}`, <span key={edge.digest}><ArtifactLink project={project} digest={edge.digest} label={labels.get(edge.digest)} />{edge.policy !== "none" && <span className="dim"> a change means: {edge.policy}</span>}</span>]),
          ...Object.entries({ ...activity.params, ...activity.environment })
            .filter(([, value]) => value !== null && value !== "")
            .map(([key, value]): [string, React.ReactNode] => [key, <span key={key} className="mono">{shown(value).slice(0, 600)}</span>]),
        ]}
      />
    </Panel>
  );
}
