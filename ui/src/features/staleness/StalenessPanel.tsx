import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { IconCircleCheck, IconPlayerPlay, IconRefresh } from "@tabler/icons-react";
import { useState } from "react";
import { ApiProblem } from "@/api/problem";
import { runStaleness, stalenessQuery, type Stale, type StaleStep, type StepDone } from "@/api/staleness";
import { Chip, type Tone } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { reasons } from "./state";
import { StateChip } from "./StaleChip";
import css from "./staleness.module.css";

/** One request begins no further step after this long; the next one goes on, so that progress is seen. */
const TURN_S = 5;
/** So many requests that end without a step done are a fault, and not patience. */
const MOST_IDLE = 3;

const OUTCOMES: Record<StepDone["outcome"], { tone: Tone; word: string }> = {
  made: { tone: "good", word: "made" },
  same: { tone: "neutral", word: "same as before" },
  failed: { tone: "bad", word: "failed" },
  waiting: { tone: "neutral", word: "waits" },
  "no-executor": { tone: "warn", word: "no executor" },
  left: { tone: "neutral", word: "left" },
};

/** The id of a step is that of its artifact, which may have to be rebuilt and then evaluated. */
function keyOf(step: Pick<StaleStep, "action" | "id">): string {
  return `${step.action} ${step.id}`;
}

/** How an artifact stands, why, and the steps that mend it; those that something here can do are done on a press. */
export function StalenessPanel({ project, digest }: { project: string; digest: string }) {
  const subject = { artifact: digest };
  const queries = useQueryClient();
  const query = useQuery(stalenessQuery(project, subject));
  const [done, setDone] = useState<StepDone[]>([]);
  const run = useMutation({
    mutationFn: async () => {
      const all = new Map<string, StepDone>();
      setDone([]);
      for (let idle = 0; idle < MOST_IDLE; ) {
        const failed = [...all.values()].filter((each) => each.outcome === "failed").map((each) => each.step.id);
        const turn = await runStaleness(project, subject, { reason: "", seconds: TURN_S, skip: failed });
        const before = all.size;
        for (const each of turn.steps) if (each.outcome !== "left") all.set(keyOf(each.step), each);
        setDone([...all.values()]);
        if (turn.left === 0) return;
        idle = all.size > before ? 0 : idle + 1;
      }
      throw new ApiProblem(-1, "no_progress", `No step was done in ${MOST_IDLE} requests.`, "Look at the plan again, then run it again.");
    },
    onSettled: () => {
      for (const key of ["staleness", "releases", "datasets", "dataset", "prompts", "prompt", "versions"]) void queries.invalidateQueries({ queryKey: [key, project] });
    },
  });
  if (query.data === undefined)
    return (
      <Panel title="Staleness">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>
    );
  const item = query.data.items[0];
  const runnable = query.data.plan.filter((step) => step.runnable).length;
  return (
    <div className={css.stack}>
      <Panel
        title="How it stands"
        note={`looked at ${plural(query.data.artifact_count, "artifact")}, just now`}
        side={
          <Button variant="default" size="compact-xs" leftSection={<IconRefresh size={13} />} loading={query.isFetching && !run.isPending} onClick={() => void query.refetch()}>
            Look again
          </Button>
        }
      >
        {item ? <Standing project={project} item={item} /> : <EmptyState title="Nothing is known of it" />}
      </Panel>
      {(query.data.plan.length > 0 || done.length > 0) && (
        <Panel
          title="What mends it"
          note={`${plural(query.data.step_count, "step")}, ${runnable} of them can be run here`}
          side={
            <Button size="compact-sm" leftSection={<IconPlayerPlay size={13} />} disabled={runnable === 0} loading={run.isPending} onClick={() => run.mutate()}>
              Run what can be run
            </Button>
          }
          flush
        >
          <div className={css.notes}>
            <p className="dim">No ref moves by this: what comes out is the next version, and moving to it stays with you and its gate.</p>
            {(run.isPending || done.length > 0) && (
              <p role="status">
                {run.isPending ? "Running: " : "Ran: "}
                {summary(done)}
              </p>
            )}
            <Failure error={run.error} />
          </div>
          {query.data.plan.length > 0 && <Plan steps={query.data.plan} />}
        </Panel>
      )}
      {done.length > 0 && (
        <Panel title="What was done" flush>
          <Done project={project} done={done} />
        </Panel>
      )}
    </div>
  );
}

function Standing({ project, item }: { project: string; item: Stale }) {
  const why = reasons(item);
  return (
    <>
      <p className={css.state}>
        <StateChip state={item.state} />
        {item.state === "FRESH" && (
          <>
            <IconCircleCheck size={15} aria-hidden="true" /> Everything is what it would be made of today, and proven.
          </>
        )}
        {item.successor !== "" && (
          <span>
            Today's parts are in{" "}
            <Link to="/p/$project/releases/$digest" params={{ project, digest: item.successor }} className="link mono">
              {shortDigest(item.successor, 12)}
            </Link>{" "}
            already: what is left is to move the ref.
          </span>
        )}
      </p>
      {why.length > 0 && (
        <ul className={css.causes} aria-label="Causes">
          {why.map((said) => (
            <li key={said}>{said}</li>
          ))}
          {item.cause_count > item.causes.length && <li className="dim">and {item.cause_count - item.causes.length} more</li>}
        </ul>
      )}
    </>
  );
}

function summary(done: readonly StepDone[]): string {
  if (done.length === 0) return "looking for the first step";
  const counts = new Map<string, number>();
  for (const each of done) counts.set(OUTCOMES[each.outcome].word, (counts.get(OUTCOMES[each.outcome].word) ?? 0) + 1);
  return [...counts].map(([word, n]) => `${n} ${word}`).join(", ");
}

function Done({ project, done }: { project: string; done: readonly StepDone[] }) {
  return (
    <Scroll label="What became of the steps">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col">Outcome</th>
            <th scope="col">What came out</th>
          </tr>
        </thead>
        <tbody>
          {done.map((each) => (
            <tr key={keyOf(each.step)}>
              <td>
                {each.step.action} {each.step.label}
              </td>
              <td>
                <Chip tone={OUTCOMES[each.outcome].tone}>{OUTCOMES[each.outcome].word}</Chip>
              </td>
              <td className={css.text}>
                {each.digest !== "" && (
                  <Link to={each.step.kind === "release" ? "/p/$project/releases/$digest" : "/p/$project/lineage/$digest"} params={{ project, digest: each.digest }} className="link">
                    {each.version !== "" ? `${each.step.name}@${each.version}` : <span className="mono">{shortDigest(each.digest, 12)}</span>}
                  </Link>
                )}
                {each.problem !== "" && (
                  <span>
                    {each.problem}
                    {each.hint !== "" && <span className="dim"> ({each.hint})</span>}
                  </span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Plan({ steps }: { steps: readonly StaleStep[] }) {
  return (
    <Scroll label="The plan">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col" className={kit.right}>
              No.
            </th>
            <th scope="col">Step</th>
            <th scope="col">Done by</th>
            <th scope="col">After</th>
            <th scope="col">Because</th>
          </tr>
        </thead>
        <tbody>
          {steps.map((step, i) => (
            <tr key={keyOf(step)}>
              <td className={kit.right}>{i + 1}</td>
              <td className={css.text}>
                <strong>{step.action}</strong> {step.label}
              </td>
              <td className={css.text}>{step.executor !== "" ? step.executor : <Chip tone="warn">no executor</Chip>}{step.lacks !== "" && <span className="dim"> {step.lacks}</span>}</td>
              <td className={css.text}>{[...step.after.map((n) => `step ${n + 1}`), ...step.waits_for].join(", ") || <span className="dim">–</span>}</td>
              <td className={css.text}>{step.because.join("; ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
