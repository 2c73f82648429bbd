import { useQuery } from "@tanstack/react-query";
import { impactQuery } from "@/api/revocations";
import { Chip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { plural, shortDigest } from "@/kit/format";
import { Scroll } from "@/kit/Page";
import { Loading } from "@/kit/States";
import css from "./revocations.module.css";

const MOST = 50;

/** What contains an artifact or was made from it, and which of that is served now. */
export function ImpactView({ project, digest }: { project: string; digest: string }) {
  const { data, error } = useQuery(impactQuery(project, digest));
  if (error) return <Failure error={error} />;
  if (data === undefined) return <Loading rows={3} />;
  return (
    <section aria-label="What this reaches" className={css.impact}>
      <strong>
        What this reaches: {plural(data.count, "artifact")}
        {data.complete ? "" : " and more"}, {data.live.length === 0 ? "none of them in service" : `among them ${plural(data.live.length, "release")} in service`}
      </strong>
      {data.live.length > 0 && (
        <span className={css.live}>
          {data.live.map((each) => (
            <Chip key={`${each.app} ${each.ref} ${each.digest}`} tone="bad" tip={each.digest}>
              {each.app}
              {each.ref === "" ? " (pinned)" : `/${each.ref}`}
            </Chip>
          ))}
        </span>
      )}
      {data.touched.length > 0 && (
        <Scroll label="Artifacts that are reached" className={css.touched}>
          <ul>
            {data.touched.slice(0, MOST).map((each) => (
              <li key={each.digest}>
                <span className="dim">{each.kind}</span> {each.versions[0] ?? <span className="mono">{shortDigest(each.digest, 12)}</span>}
                {each.refs.length > 0 && <span className="dim"> {each.refs.join(", ")}</span>}
              </li>
            ))}
            {data.count > MOST && <li className="dim">and {data.count - MOST} more</li>}
          </ul>
        </Scroll>
      )}
    </section>
  );
}
