import { useQueries } from "@tanstack/react-query";
import { IconCheck, IconX } from "@tabler/icons-react";
import type { Ref } from "@/api/apps";
import { gateCheckQuery, type GateCheck } from "@/api/registry";
import { Chip } from "@/kit/Chips";
import { plural, shortDigest } from "@/kit/format";
import { Panel } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import css from "./releases.module.css";

/** What each gate of a ref says of a move there: which condition is met, which is not, and why. */
export function GateAnswers({ check }: { check: GateCheck }) {
  if (!check.governed) return <p className={css.quiet}>No gate governs this ref: it moves freely.</p>;
  return (
    <div className={css.gate} data-passed={check.passed}>
      <div className={css.gateHead}>
        <Chip tone={check.passed ? "good" : "bad"}>{check.passed ? "the gate lets it pass" : "the gate refuses"}</Chip>
      </div>
      {check.gates.map((gate, i) => (
        <div key={i}>
          <div className="dim">
            gate of <span className="mono">{gate.pattern}</span>
            {gate.rests_on.length > 0 && `, rests on ${plural(gate.rests_on.length, "statement")}`}
          </div>
          {gate.problem !== "" && <p className={css.bad}>{gate.problem}</p>}
          <ul className={css.conditions}>
            {gate.conditions.map((condition, j) => (
              <li key={j} data-passed={condition.passed}>
                {condition.passed ? <IconCheck size={14} aria-label="met" /> : <IconX size={14} aria-label="not met" />}
                <span>
                  <strong>{condition.name}</strong> {condition.reason}
                </span>
              </li>
            ))}
          </ul>
          {gate.discounted.length > 0 && (
            <ul className={css.summary}>
              {gate.discounted.map((each) => (
                <li key={each.digest} className="dim">
                  Does not count: {each.predicate_type.split("/").slice(-2).join("/")} <span className="mono">{shortDigest(each.digest)}</span>: {each.problem}
                </li>
              ))}
            </ul>
          )}
        </div>
      ))}
    </div>
  );
}

/** For every ref of the app: whether it could move to this release now. */
export function Gates({ project, app, digest, refs }: { project: string; app: string; digest: string; refs: Ref[] }) {
  const checks = useQueries({ queries: refs.map((ref) => gateCheckQuery(project, `${app}/${ref.name}`, digest)) });
  if (refs.length === 0)
    return (
      <Panel title="Gates">
        <EmptyState title="This app has no refs yet">Move one here to let the release answer.</EmptyState>
      </Panel>
    );
  return (
    <div className={css.gates}>
      {refs.map((ref, i) => {
        const check = checks[i];
        return (
          <Panel key={ref.name} title={ref.name} note={ref.digest === digest ? "stands here now" : `stands at ${shortDigest(ref.digest, 12)}`}>
            {check?.data ? <GateAnswers check={check.data} /> : check?.isError ? <ErrorState error={check.error} retry={() => void check.refetch()} busy={check.isFetching} /> : <Loading rows={3} />}
          </Panel>
        );
      })}
    </div>
  );
}
