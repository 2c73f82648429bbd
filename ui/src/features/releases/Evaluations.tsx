import type { ReleaseDiff } from "@/api/releases";
import { Chip } from "@/kit/Chips";
import { count, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Panel, Scroll } from "@/kit/Page";
import { Ago } from "@/kit/time";
import css from "./releases.module.css";

type Suite = ReleaseDiff["evaluations"][number];
type Side = NonNullable<Suite["old"]>;

const UNKNOWN: Record<ReleaseDiff["evaluated"], string> = {
  both: "",
  old: "The later release has no signed result yet: whether it is better is unknown.",
  new: "The earlier release has no signed result: how much better it is is unknown.",
  unknown: "Unknown: neither release has a signed result of a suite. Results are attached as evidence, never guessed.",
};

/** What was measured of both releases, suite by suite and metric by metric; a side that nobody measured is unknown, not nothing. */
export function Evaluations({ diff }: { diff: ReleaseDiff }) {
  return (
    <Panel title="Evaluations" note="the newest signed result of each suite, on either side">
      {diff.evaluated !== "both" && <p className={css.quiet}>{UNKNOWN[diff.evaluated]}</p>}
      {diff.evaluations.map((suite) => (
        <SuiteView key={suite.suite} suite={suite} />
      ))}
    </Panel>
  );
}

function SuiteView({ suite }: { suite: Suite }) {
  return (
    <section aria-label={`Suite ${suite.suite}`} className={css.suite}>
      <div className={css.rowHead}>
        <span className="mono">{suite.suite}</span>
        {suite.same_suite === false && (
          <Chip tone="warn" tip="The two results are of different versions of the suite: their numbers do not compare">
            not the same suite
          </Chip>
        )}
        {suite.same_suite === null && suite.old && suite.new && <Chip tip="The statements do not say which version of the suite ran">suite unknown</Chip>}
      </div>
      <div className={css.sides}>
        <SideView title="From" side={suite.old} />
        <SideView title="To" side={suite.new} />
      </div>
      {suite.metrics.length > 0 && (
        <Scroll label={`Metrics of ${suite.suite}`}>
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Metric</th>
                <th scope="col" className={kit.right}>
                  From
                </th>
                <th scope="col" className={kit.right}>
                  To
                </th>
                <th scope="col" className={kit.right}>
                  Difference
                </th>
              </tr>
            </thead>
            <tbody>
              {suite.metrics.map((metric) => (
                <tr key={metric.metric}>
                  <td>{metric.metric}</td>
                  <td className={kit.right}>{number(metric.old)}</td>
                  <td className={kit.right}>{number(metric.new)}</td>
                  <td className={kit.right}>{metric.delta === null ? <span className="dim">unknown</span> : signed(metric.delta)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

function SideView({ title, side }: { title: string; side: Side | null }) {
  if (side === null)
    return (
      <span>
        <span className="dim">{title}:</span> unknown
      </span>
    );
  return (
    <span className={css.side}>
      <span className="dim">{title}:</span>
      <Chip tone={side.result === "PASSED" ? "good" : side.result === "FAILED" ? "bad" : "warn"}>{side.result.toLowerCase()}</Chip>
      {side.cases > 0 && <span>{plural(side.cases, "case")}</span>}
      <span className="dim">
        signed by {side.signed_by || `an unknown key ${shortDigest(side.key_id)}`}, <Ago at={side.received_at} />
      </span>
      {side.expired && <Chip tone="warn">expired</Chip>}
    </span>
  );
}

function number(value: number | null): string {
  return value === null ? "unknown" : Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(6)));
}

/** A difference with its sign; whether more is better depends on the metric. */
export function signed(delta: number): string {
  if (delta === 0) return "±0";
  const text = number(Math.abs(delta));
  return delta > 0 ? `+${text}` : `−${text}`;
}
