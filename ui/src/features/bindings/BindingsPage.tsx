import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconPlugConnected } from "@tabler/icons-react";
import { bindingsQuery, type BindingListed } from "@/api/bindings";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./bindings.module.css";

const route = getRouteApi("/signed-in/p/$project/bindings");
const WORDS: Record<string, string> = { providers: "provider", indexes: "index", tools: "tool", mcp_servers: "MCP server" };
const MANY: Record<string, string> = { indexes: "indexes" };

/** What the logical names of releases mean, environment by environment. */
export function BindingsPage() {
  const { project } = route.useParams();
  const query = useQuery(bindingsQuery(project));
  return (
    <Page title="Bindings">
      <Panel flush label="Bindings">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : query.data.length === 0 ? (
          <EmptyState icon={<IconPlugConnected size={28} stroke={1.4} color="var(--t-accent)" />} title="No environment is bound" more={<Command text="tetrad binding put production.yaml --env production" />}>
            A binding says which provider or engine answers for a logical name of a release in an environment. Without one every name means itself.
          </EmptyState>
        ) : (
          <Scroll label="Bindings in force">
            <table className={kit.table}>
              <thead>
                <tr>
                  <th scope="col">Environment</th>
                  <th scope="col">Version</th>
                  <th scope="col">Binds</th>
                  <th scope="col">Digest</th>
                  <th scope="col">Moved</th>
                </tr>
              </thead>
              <tbody>
                {query.data.map((each) => (
                  <tr key={each.ref}>
                    <td>
                      <span className={css.chips}>
                        <Link to="/p/$project/bindings/$env" params={{ project, env: each.env }} search={each.app === "" ? {} : { app: each.app }} className="link" style={{ fontWeight: 500 }}>
                          {each.env}
                        </Link>
                        {each.app !== "" && <span className="dim">only the app {each.app}</span>}
                        {each.governed && <Chip tip="Moves only through its gate">gated</Chip>}
                      </span>
                    </td>
                    <td className="num">{each.version || <span className="dim">–</span>}</td>
                    <td className={css.text}>{each.problem !== "" ? <Chip tone="bad">{each.problem}</Chip> : binds(each)}</td>
                    <td className="mono" title={each.digest}>
                      {shortDigest(each.digest, 12)}
                    </td>
                    <td className={css.when}>
                      <Ago at={each.moved_at} /> by {each.moved_by}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </Panel>
    </Page>
  );
}

function binds(each: BindingListed): string {
  if (each.inherit) return "follows its environment";
  const parts = Object.entries(each.counts).filter(([, n]) => n > 0);
  return parts.length === 0 ? "no name" : parts.map(([section, n]) => plural(n, WORDS[section] ?? section, MANY[section])).join(", ");
}
