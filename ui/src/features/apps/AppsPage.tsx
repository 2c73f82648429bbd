import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconApps } from "@tabler/icons-react";
import { appsQuery } from "@/api/apps";
import { ReleaseChip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";

const route = getRouteApi("/signed-in/p/$project/apps");

/** The apps of a project, and where their refs stand. */
export function AppsPage() {
  const { project } = route.useParams();
  const query = useQuery(appsQuery(project));
  return (
    <Page title="Apps">
      <Panel flush label="Apps">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : query.data.length === 0 ? (
          <EmptyState icon={<IconApps size={28} stroke={1.4} />} title="No apps in this project" more={<Command text="tetrad release create examples/assistant" />}>
            An app is born with its first release, which pins code, data, model and prompt.
          </EmptyState>
        ) : (
          <Scroll label="Apps and their refs">
            <table className={kit.table}>
              <thead>
                <tr>
                  <th scope="col">App</th>
                  <th scope="col">Refs</th>
                  <th scope="col">Last moved</th>
                  <th scope="col">By</th>
                </tr>
              </thead>
              <tbody>
                {query.data.map((app) => {
                  const last = [...app.refs].sort((a, b) => b.moved_at.localeCompare(a.moved_at))[0];
                  return (
                    <tr key={app.name}>
                      <td>
                        <Link to="/p/$project/apps/$app" params={{ project, app: app.name }} className="link" style={{ fontWeight: 500 }}>
                          {app.name}
                        </Link>
                      </td>
                      <td>
                        <span style={{ display: "flex", gap: 14, flexWrap: "wrap" }}>
                          {app.refs.map((ref) => (
                            <span key={ref.name} style={{ display: "inline-flex", gap: 6, alignItems: "center" }}>
                              {ref.name} <ReleaseChip project={project} app={app.name} digest={ref.digest} />
                            </span>
                          ))}
                        </span>
                      </td>
                      <td>{last ? <Ago at={last.moved_at} /> : "–"}</td>
                      <td>{last?.moved_by ?? "–"}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </Scroll>
        )}
      </Panel>
    </Page>
  );
}
