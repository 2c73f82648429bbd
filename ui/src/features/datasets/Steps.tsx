import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lineageQuery, type Activity, type Label } from "@/api/registry";
import { ArtifactLink } from "@/features/lineage/ArtifactLink";
import { Chip } from "@/kit/Chips";
import { Facts, Panel } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./datasets.module.css";
import { stepsOf, toldOf } from "./steps";

/** How this version came to be, step by step, back to the file that it began with. */
export function Steps({ project, digest }: { project: string; digest: string }) {
  const query = useQuery(lineageQuery(project, digest, "upstream", 10));
  if (query.data === undefined) return <Panel label="Lineage">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>;
  const labels = new Map(query.data.artifacts.map((label) => [label.digest, label]));
  const made = query.data.activities;
  return (
    <Panel
      title="How it was made"
      note="the last step first"
      side={
        <Link to="/p/$project/lineage/$digest" params={{ project, digest }} className="link">
          Lineage graph
        </Link>
      }
    >
      {made.length === 0 ? (
        <EmptyState title="Nothing is known of how this was made">Imports and steps record themselves; rows that came before that did not.</EmptyState>
      ) : (
        <ol className={css.steps}>
          {made.map((activity) => (
            <StepView key={activity.id} project={project} activity={activity} labels={labels} />
          ))}
        </ol>
      )}
    </Panel>
  );
}

function StepView({ project, activity, labels }: { project: string; activity: Activity; labels: Map<string, Label> }) {
  const inputs = activity.edges.filter((edge) => edge.direction === "in");
  const outputs = activity.edges.filter((edge) => edge.direction === "out");
  return (
    <li className={css.step}>
      <div className={css.stepHead}>
        <Chip tone="accent">{activity.kind}</Chip>
        <span className={css.flow}>
          {inputs.map((edge) => (
            <ArtifactLink key={`${edge.digest}${edge.role}`} project={project} digest={edge.digest} label={labels.get(edge.digest)} />
          ))}
          {inputs.length > 0 && <span aria-label="made">→</span>}
          {outputs.map((edge) => (
            <ArtifactLink key={`${edge.digest}${edge.role}`} project={project} digest={edge.digest} label={labels.get(edge.digest)} />
          ))}
        </span>
        <span className="dim">
          <Ago at={activity.ended_at ?? activity.started_at} />, {activity.actor}
        </span>
      </div>
      {stepsOf(activity.params).map((step, i) => (
        <p key={i} className={css.stepLine}>
          <strong>{step.op}</strong> <span className="mono">{step.rest}</span>
        </p>
      ))}
      <Facts items={toldOf(activity.params)} />
    </li>
  );
}
