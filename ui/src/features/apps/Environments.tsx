import { useQueries } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { AppDetail, Ref } from "@/api/apps";
import { bindingQuery } from "@/api/bindings";
import { asProblem } from "@/api/problem";
import { BoundNames } from "@/features/bindings/BoundNames";
import { Chip } from "@/kit/Chips";
import { shortDigest } from "@/kit/format";
import { Panel } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import css from "./app.module.css";

/** What each ref's environment makes of the names in a release: who answers, and by which binding. */
export function Environments({ project, app }: { project: string; app: AppDetail }) {
  const bindings = useQueries({ queries: app.refs.map((ref) => ({ ...bindingQuery(project, ref.name, app.name), retry: false })) });
  if (app.refs.length === 0) return null;
  return (
    <Panel title="Environments" note="a ref is bound by the environment of its name">
      {app.refs.map((ref: Ref, i) => {
        const query = bindings[i];
        const unbound = query?.isError === true && asProblem(query.error).status === 404;
        return (
          <section key={ref.name} aria-label={`Environment ${ref.name}`} className={css.environment}>
            <div className={css.environmentHead}>
              <strong>{ref.name}</strong>
              {query?.data && (
                <>
                  <Link to="/p/$project/bindings/$env" params={{ project, env: query.data.env }} search={query.data.app === "" ? {} : { app: query.data.app }} className="link">
                    {query.data.ref}
                    {query.data.version !== "" && ` ${query.data.version}`}
                  </Link>
                  <span className="mono dim" title={query.data.digest}>
                    {shortDigest(query.data.digest, 12)}
                  </span>
                  {query.data.app !== "" && <Chip>only this app</Chip>}
                </>
              )}
              {unbound && <span className="dim">not bound: every name means itself</span>}
            </div>
            {query?.data ? query.data.document === null ? <Chip tone="bad">{query.data.problem}</Chip> : <BoundNames document={query.data.document} label={`Names in ${ref.name}`} /> : unbound ? null : query?.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={1} />}
          </section>
        );
      })}
    </Panel>
  );
}
