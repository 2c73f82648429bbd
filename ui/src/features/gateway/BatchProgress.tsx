import { isOpen, type Batch } from "@/api/batches";
import { count } from "@/kit/format";
import { doneOf, sharesOf } from "./batchWords";
import css from "./gateway.module.css";

/** How many requests are answered, and how many of them badly. */
export function BatchProgress({ batch }: { batch: Batch }) {
  const { good, bad } = sharesOf(batch);
  return (
    <div className={css.burn}>
      <span className="num" style={{ whiteSpace: "nowrap" }}>
        {doneOf(batch)}
        {batch.failed > 0 && <span style={{ color: "var(--t-bad)" }}> {count(batch.failed)} failed</span>}
      </span>
      {batch.total > 0 && (
        <div className={`${css.bar} ${css.parts}`} aria-hidden="true">
          <span style={{ width: `${good}%` }} data-tone={isOpen(batch) ? undefined : "good"} />
          <span style={{ width: `${bad}%` }} data-tone="bad" />
        </div>
      )}
    </div>
  );
}
