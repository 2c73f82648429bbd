import { useVirtualizer } from "@tanstack/react-virtual";
import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";
import type { Row } from "@/api/datasets";
import { cell, shortKey } from "./cell";
import css from "./datasets.module.css";
import type { DatasetSearch } from "./search";

const ROW = 34;

interface Props {
  project: string;
  dataset: string;
  rows: Row[];
  columns: string[];
  /** Names of what is said of rows beside them. */
  sides: string[];
  search: DatasetSearch;
  total: number | null;
  onEnd: () => void;
  ending: "loading" | "more" | "end";
}

/** The rows of a version: only those in sight are in the page; each opens beside the list. */
export function RowsTable({ project, dataset, rows, columns, sides, search, total, onEnd, ending }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 12, getItemKey: (i) => rows[i]?.key ?? i });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (ending === "more" && last >= rows.length - 20) onEnd();
  }, [last, rows.length, ending, onEnd]);
  const template = useMemo(() => ["minmax(110px, 150px)", ...columns.map((name) => (name === "messages" ? "minmax(240px, 3fr)" : "minmax(90px, 1fr)")), ...sides.map(() => "minmax(70px, 90px)")].join(" "), [columns, sides]);
  const least = 110 + columns.reduce((sum, name) => sum + (name === "messages" ? 252 : 102), 0) + sides.length * 82 + 30;
  return (
    <div ref={scroller} className={css.scroller} style={{ "--columns": template, "--least": `${least}px` } as React.CSSProperties}>
      <div role="table" aria-label="Rows" aria-rowcount={total === null ? -1 : total + 1}>
        <div role="rowgroup" className={css.gridHead}>
          <div role="row" className={css.gridRow}>
            <div role="columnheader">Key</div>
            {columns.map((name) => (
              <div role="columnheader" key={name} className="mono">
                {name}
              </div>
            ))}
            {sides.map((name) => (
              <div role="columnheader" key={name} className={css.sideColumn} title="Said of the row beside it; not part of its content">
                {name}
              </div>
            ))}
          </div>
        </div>
        <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            return (
              <div role="row" key={item.key} aria-rowindex={item.index + 2} className={`${css.gridRow ?? ""} ${css.gridBody ?? ""}`} data-chosen={row.key === search.row} style={{ transform: `translateY(${item.start}px)` }}>
                <div role="cell">
                  <Link to="/p/$project/datasets/$dataset" params={{ project, dataset }} search={{ ...search, row: row.key }} replace preload={false} className={css.rowLink} title={row.key}>
                    {shortKey(row.key)}
                  </Link>
                </div>
                {columns.map((name) => (
                  <div role="cell" key={name}>
                    {cell(row.value[name])}
                  </div>
                ))}
                {sides.map((name) => (
                  <div role="cell" key={name}>
                    {row.columns[name] === undefined ? <span className="dim">–</span> : cell(row.columns[name])}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
        {ending === "loading" && <div className={css.ending}>Loading more …</div>}
      </div>
    </div>
  );
}
