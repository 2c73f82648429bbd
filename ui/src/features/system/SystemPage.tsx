import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { healthOf, statusQuery, type SystemStatus } from "@/api/status";
import { HealthLabel } from "@/kit/Chips";
import { bytes, count, duration } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Page, Panel } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";

/** Processes, engines, gateways and stores of this installation, as they are now. */
export function SystemPage() {
  const query = useQuery(statusQuery);
  return (
    <Page title="System" side={query.data && <span className="dim num">Tetrad {query.data.version} in {query.data.home}, up for {duration(query.data.uptime_s * 1000)}</span>}>
      {query.data ? (
        <Parts status={query.data} />
      ) : (
        <Panel label="System">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading />}</Panel>
      )}
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
          ["Memory", (p) => bytes(p.memory_bytes), "right"],
          ["Restarts", (p) => count(p.restarts), "right"],
          ["Started", (p) => <Ago at={p.started_at} />],
          ["Process id", (p) => p.pid ?? "–", "right"],
          ["", (p) => <span className="dim">{p.detail}</span>],
        ]}
      />
      <PartTable
        title="Engines"
        empty="No engine is set up. Local models are served by engines; remote ones need none."
        rows={status.engines}
        columns={[
          ["State", (e) => <HealthLabel health={healthOf(e.state)} state={e.state} />],
          ["Models", (e) => <span className="mono">{e.models.join(", ")}</span>],
          ["Adapter", (e) => e.adapter],
          ["Memory", (e) => bytes(e.memory_bytes), "right"],
          ["", (e) => <span className="dim">{e.detail}</span>],
        ]}
      />
      <PartTable
        title="Gateways"
        empty="No gateway is connected. Gateways go on answering from their last route table; `tetrad status` tells more."
        rows={status.gateways}
        columns={[
          ["State", (g) => <HealthLabel health={healthOf(g.state)} state={g.state} />],
          ["Route table", (g) => `version ${g.route_table_version}`, "right"],
          ["Spans waiting on disk", (g) => bytes(g.spool_bytes), "right"],
          ["Lag", (g) => duration(g.lag_s === null ? null : g.lag_s * 1000), "right"],
          ["", (g) => <span className="dim">{g.detail}</span>],
        ]}
      />
      <PartTable
        title="Stores"
        rows={status.stores}
        columns={[
          ["State", (s) => <HealthLabel health={healthOf(s.state)} state={s.state} />],
          ["Kind", (s) => s.kind],
          ["Size", (s) => bytes(s.size_bytes), "right"],
          ["", (s) => <span className="dim">{s.detail}</span>],
        ]}
      />
    </>
  );
}

function PartTable<T extends { name: string }>({ title, rows, columns, empty = "None." }: { title: string; rows: T[]; columns: Column<T>[]; empty?: string }) {
  return (
    <Panel title={title} flush>
      {rows.length === 0 ? (
        <p className="dim" style={{ margin: 0, padding: "10px 14px 14px" }}>
          {empty}
        </p>
      ) : (
        <div className={kit.scroll}>
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
        </div>
      )}
    </Panel>
  );
}
