import { useHotkeys } from "@mantine/hooks";
import { useTable } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import type { Sort, TraceRow } from "@/api/traces";
import { SortButton } from "@/kit/Lists";
import { features, LAYOUT, makeColumns } from "./columns";
import css from "./traces.module.css";

const ROW = 34;

interface Props {
  project: string;
  rows: TraceRow[];
  now: number;
  sort: Sort;
  hidden: string[];
  onSort: (column: string) => void;
  onEnd: () => void;
  ending: "loading" | "more" | "end";
}

/** The list itself: only the rows in sight are in the page; j and k walk, Enter opens. */
export function TraceTable({ project, rows, now, sort, hidden, onSort, onEnd, ending }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const navigate = useNavigate();
  const [chosen, setChosen] = useState<string | null>(null);
  const columns = useMemo(() => makeColumns(project, now), [project, now]);
  const table = useTable({
    features,
    columns,
    data: rows,
    getRowId: (row: TraceRow) => row.trace_id,
    manualSorting: true,
    state: {
      sorting: [{ id: sort.replace(/^-/, ""), desc: sort.startsWith("-") }],
      columnVisibility: Object.fromEntries(hidden.map((id) => [id, false])),
    },
  });
  const tableRows = table.getRowModel().rows;
  const virtual = useVirtualizer({ count: tableRows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 12, getItemKey: (i) => tableRows[i]?.id ?? i });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (ending === "more" && last >= tableRows.length - 15) onEnd();
  }, [last, tableRows.length, ending, onEnd]);

  const step = (by: number): void => {
    const at = tableRows.findIndex((row) => row.id === chosen);
    const next = Math.min(Math.max(at + by, 0), tableRows.length - 1);
    setChosen(tableRows[next]?.id ?? null);
    virtual.scrollToIndex(next);
  };
  useHotkeys([
    ["j", () => step(1)],
    ["k", () => step(-1)],
    ["Enter", () => chosen !== null && void navigate({ to: "/p/$project/traces/$trace", params: { project, trace: chosen } }), { preventDefault: false }],
  ]);

  const visible = table.getVisibleLeafColumns().map((column) => column.id);
  const template = visible.map((id) => LAYOUT[id]?.width ?? "1fr").join(" ");
  const least = visible.reduce((sum, id) => sum + Number(/\d+/.exec(LAYOUT[id]?.width ?? "100")?.[0] ?? 100) + 12, 0);

  return (
    <div ref={scroller} className={css.scroller} style={{ "--columns": template, "--least": `${least}px` } as React.CSSProperties}>
      <div role="table" aria-label="Traces" aria-rowcount={ending === "end" ? tableRows.length + 1 : -1}>
        <div role="rowgroup" className={css.head}>
          {table.getHeaderGroups().map((group) => (
            <div role="row" key={group.id} className={css.row}>
              {group.headers.map((header) => {
                const sortable = header.column.getCanSort();
                const sorted = header.column.getIsSorted();
                return (
                  <div key={header.id} role="columnheader" aria-sort={sorted === false ? (sortable ? "none" : undefined) : sorted === "asc" ? "ascending" : "descending"} data-right={LAYOUT[header.column.id]?.right}>
                    {sortable ? (
                      <SortButton sorted={sorted} onClick={() => onSort(header.column.id)}>
                        <table.FlexRender header={header} />
                      </SortButton>
                    ) : (
                      <table.FlexRender header={header} />
                    )}
                  </div>
                );
              })}
            </div>
          ))}
        </div>
        <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {items.map((item) => {
            const row = tableRows[item.index];
            if (row === undefined) return null;
            return (
              <div role="row" key={item.key} aria-rowindex={item.index + 2} className={`${css.row ?? ""} ${css.body ?? ""}`} data-chosen={row.id === chosen} data-failed={row.original.status === "error"} style={{ transform: `translateY(${item.start}px)` }}>
                {row.getVisibleCells().map((cell) => (
                  <div key={cell.id} role="cell" data-right={LAYOUT[cell.column.id]?.right}>
                    {cell.column.id === "name" ? (
                      <Link to="/p/$project/traces/$trace" params={{ project, trace: row.id }} className={css.rowLink} preload={false} onFocus={() => setChosen(row.id)}>
                        <table.FlexRender cell={cell} />
                      </Link>
                    ) : (
                      <table.FlexRender cell={cell} />
                    )}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
        {ending === "loading" && <div className={css.ending}>Loading more…</div>}
        {ending === "end" && tableRows.length > 30 && <div className={css.ending}>That is all in this window.</div>}
      </div>
    </div>
  );
}
