import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { healthOf, statusQuery, type SystemStatus } from "@/api/status";
import { useEverywhere } from "@/features/session/useAdmin";
import { Chip, HealthLabel } from "@/kit/Chips";
import { bytes, count, plural, UNKNOWN } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Collect } from "./Collect";

const route = getRouteApi("/signed-in/p/$project/system");

/** Processes, engines, gateways and stores of this installation, as they are now. */
export function SystemPage() {
  const { project } = route.useParams();
  const everywhere = useEverywhere();
  const query = useQuery(statusQuery);
  return (
    <Page title="System" side={query.data && <span className="dim num">Tetrad {query.data.version}</span>}>
      {query.data ? (
        <Parts status={query.data} />
      ) : (
        <Panel label="System">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>
      )}
      {everywhere && <Collect project={project} />}
    </Page>
  );
}

type Column<T> = [heading: string, cell: (row: T) => ReactNode, numeric?: "right"];

function Parts({ status }: { status: SystemStatus }) {
  return (
    <>
      <PartTable
        title="Processes"
        rows={status.processes}
        columns={[
          ["State", (p) => <HealthLabel health={healthOf(p.state)} state={p.state} />],
          ["Memory", (p) => memory(p.rss_bytes), "right"],
          ["Restarts", (p) => count(p.restarts), "right"],
          ["Process id", (p) => p.pid ?? "–", "right"],
          ["", (p) => <span className="dim">{p.reason}</span>],
        ]}
      />
      <PartTable
        title="Engines"
        empty="No engine is set up. Local models are served by engines; remote ones need none."
        rows={status.engines}
        columns={[
          ["State", (e) => <HealthLabel health={healthOf(e.state)} state={e.state} />],
          ["Models", (e) => <span className="mono">{e.models.join(", ")}</span>],
          ["Memory", (e) => memory(e.rss_bytes), "right"],
          ["Restarts", (e) => count(e.restarts), "right"],
          ["", (e) => <span className="dim">{e.reason}</span>],
        ]}
      />
      <RouteTable table={status.route_table} broken={status.broken} />
      <PartTable
        title="Stores"
        rows={status.stores}
        columns={[
          ["State", (s) => <HealthLabel health={s.ok ? "good" : "bad"} state={s.ok ? "answers" : "away"} />],
          ["Kind", (s) => s.kind],
          ["", (s) => <span className="dim">{s.detail}</span>],
        ]}
      />
    </>
  );
}

/** What gateways route by; a table that could not be made leaves the last good one in force. */
function RouteTable({ table, broken }: { table: SystemStatus["route_table"]; broken: SystemStatus["broken"] }) {
  return (
    <Panel title="Route table" note="what gateways route by">
      <Facts
        items={[
          ["Version", <span key="v" className="mono">{table.version}</span>],
          ["Gateways following", count(table.gateways)],
          ["Routes", `${plural(table.apps, "app")}, ${plural(table.models, "model")}`],
          ["Fault", table.error === "" ? "" : <Chip key="e" tone="bad">{table.error}</Chip>],
          ...broken.map((each): [string, ReactNode] => [`Revoked: ${each.app}${each.ref === "" ? " (pinned)" : `/${each.ref}`}`, <Chip key={each.digest} tone="bad">{each.causes.join("; ")}</Chip>]),
          ...table.problems.map((problem, i): [string, ReactNode] => [i === 0 ? "Left out" : `Left out (${i + 1})`, problem]),
        ]}
      />
      {table.gateways === 0 && <p className="dim">No gateway follows now. Gateways go on answering from the last table they have; `tetrad status` tells more.</p>}
    </Panel>
  );
}

/** A process that does not run has no memory to tell of. */
function memory(rss_bytes: number): string {
  return rss_bytes > 0 ? bytes(rss_bytes) : UNKNOWN;
}

function PartTable<T extends { name: string }>({ title, rows, columns, empty = "None." }: { title: string; rows: T[]; columns: Column<T>[]; empty?: string }) {
  return (
    <Panel title={title} flush>
      {rows.length === 0 ? (
        <p className="dim" style={{ margin: 0, padding: "10px 14px 14px" }}>
          {empty}
        </p>
      ) : (
        <Scroll label={`${title} in detail`}>
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Name</th>
                {columns.map(([heading, , align], i) => (
                  <th key={i} scope="col" className={align === "right" ? kit.right : undefined}>
                    {heading === "" ? <span className="unseen">Remark</span> : heading}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.name}>
                  <td style={{ fontWeight: 500 }}>{row.name}</td>
                  {columns.map(([, cell, align], i) => (
                    <td key={i} className={align === "right" ? kit.right : undefined}>
                      {cell(row)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Panel>
  );
}
