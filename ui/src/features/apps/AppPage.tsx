import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowRight, IconChevronRight } from "@tabler/icons-react";
import { appQuery, releaseQuery, type AppDetail, type Ref } from "@/api/apps";
import { Chip, ReleaseChip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./app.module.css";
import { Parts } from "./Parts";
import { Rollback } from "./Rollback";
import { TryIt } from "./TryIt";

const route = getRouteApi("/signed-in/p/$project/apps/$app");

/** One app: where its refs stand, what the chosen release is made of, and how its refs moved. */
export function AppPage() {
  const { project, app } = route.useParams();
  const query = useQuery(appQuery(project, app));
  return (
    <Page
      title={app}
      heading={
        <h1 className={css.title}>
          <Link to="/p/$project/apps" params={{ project }} className="link">
            Apps
          </Link>
          <IconChevronRight size={15} />
          {app}
        </h1>
      }
    >
      {query.data ? <Loaded project={project} app={query.data} /> : <Panel label={app}>{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>}
    </Page>
  );
}

function Loaded({ project, app }: { project: string; app: AppDetail }) {
  const { release: wanted } = route.useSearch();
  const main = app.refs.find((ref) => ref.name === app.default_ref) ?? app.refs[0];
  const digest = wanted ?? main?.digest ?? "";
  const release = useQuery(releaseQuery(project, digest));
  if (digest === "")
    return (
      <Panel label="Releases">
        <EmptyState title="This app has no release yet">Its first release gives it a ref to answer by.</EmptyState>
      </Panel>
    );
  const here = app.refs.filter((ref) => ref.digest === digest);
  return (
    <>
      <Refs project={project} app={app} chosen={digest} />
      <div className={css.releaseHead}>
        <h2>
          Release <span className="mono">{shortDigest(digest, 12)}</span>
        </h2>
        <CopyButton value={digest} what="release digest" />
        {here.map((ref) => (
          <Chip key={ref.name} tone="accent">
            {ref.name}
          </Chip>
        ))}
        {here.length === 0 && <Chip>no ref stands here</Chip>}
        {release.data && (
          <span className="dim">
            made <Ago at={release.data.created_at} /> by {release.data.created_by}
            {release.data.reason !== "" && `: ${release.data.reason}`}
          </span>
        )}
        <span className={css.push}>
          <Rollback project={project} app={app} refs={here} />
          <Link to="/p/$project/traces" params={{ project }} search={{ release: digest }} className="link">
            Its traces
          </Link>
        </span>
      </div>
      {release.data ? <Parts release={release.data} /> : <Panel label="Release">{release.isError ? <ErrorState error={release.error} retry={() => void release.refetch()} busy={release.isFetching} /> : <Loading rows={10} />}</Panel>}
      <div className={css.columns}>
        <TryIt app={app} release={release.data} />
        <History project={project} app={app} />
      </div>
    </>
  );
}

function Refs({ project, app, chosen }: { project: string; app: AppDetail; chosen: string }) {
  return (
    <section className={css.refs} aria-label="Refs">
      {app.refs.map((ref: Ref) => (
        <Link key={ref.name} to="/p/$project/apps/$app" params={{ project, app: app.name }} search={ref.name === app.default_ref ? {} : { release: ref.digest }} className={css.ref} data-chosen={ref.digest === chosen} aria-current={ref.digest === chosen ? "true" : undefined}>
          <span className={css.refName}>
            {ref.name}
            {ref.name === app.default_ref && <span className="dim"> default</span>}
          </span>
          <span className="mono">{shortDigest(ref.digest, 12)}</span>
          <span className="dim">
            moved <Ago at={ref.moved_at} /> by {ref.moved_by}
          </span>
        </Link>
      ))}
    </section>
  );
}

function History({ project, app }: { project: string; app: AppDetail }) {
  return (
    <Panel title="Moves of refs" note="newest first" flush>
      {app.history.length === 0 ? (
        <p className="dim" style={{ padding: "10px 14px 14px", margin: 0 }}>
          No ref has moved.
        </p>
      ) : (
        <Scroll label="Moves">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">Ref</th>
                <th scope="col">From and to</th>
                <th scope="col">By</th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {app.history.map((move) => (
                <tr key={`${move.ref}-${move.sequence}`}>
                  <td style={{ whiteSpace: "nowrap" }}>
                    <Ago at={move.at} />
                  </td>
                  <td>{move.ref}</td>
                  <td>
                    <span className={css.move}>
                      {move.from === null ? <span className="dim">new</span> : <ReleaseChip project={project} app={app.name} digest={move.from} />}
                      <IconArrowRight size={12} aria-label="to" />
                      {move.to === null ? <span className="dim">removed</span> : <ReleaseChip project={project} app={app.name} digest={move.to} />}
                    </span>
                  </td>
                  <td>{move.by}</td>
                  <td>{move.reason}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Panel>
  );
}
