import { columnVisibilityFeature, createColumnHelper, rowSortingFeature, tableFeatures } from "@tanstack/react-table";
import type { TraceRow } from "@/api/traces";
import { ReleaseChip } from "@/kit/Chips";
import { compact, duration, fullTime, money, nanosToMs, timeOfDay } from "@/kit/format";
import { costOf } from "./cost";
import { previewText } from "./messages";
import css from "./traces.module.css";

export const features = tableFeatures({ rowSortingFeature, columnVisibilityFeature });
const helper = createColumnHelper<typeof features, TraceRow>();

export interface ColumnMeta {
  width: string;
  right?: boolean;
}

/** Widths by column id; `minmax(0, …)` grows. */
export const LAYOUT: Record<string, ColumnMeta> = {
  start: { width: "100px" },
  name: { width: "minmax(200px, 1fr)" },
  status: { width: "48px" },
  app: { width: "96px" },
  release: { width: "84px" },
  model: { width: "144px" },
  session: { width: "68px" },
  tokens: { width: "56px", right: true },
  cost: { width: "78px", right: true },
  duration: { width: "68px", right: true },
  first_token: { width: "76px", right: true },
};

export const makeColumns = (project: string, now: number) =>
  helper.columns([
    helper.accessor((row) => row.start_ns, { id: "start", header: "Time", cell: ({ row }) => <Time row={row.original} now={now} /> }),
    helper.accessor((row) => row.name, {
      id: "name",
      header: "Name",
      enableSorting: false,
      cell: ({ row }) => (
        <span className={css.name}>
          <span className={css.nameText}>{row.original.name}</span>
          <span className={css.preview}>{previewText(row.original.input_preview, "input")}</span>
        </span>
      ),
    }),
    helper.accessor((row) => row.status, {
      id: "status",
      header: "Status",
      enableSorting: false,
      cell: ({ row }) => <span data-status={row.original.status} className={css.status}>{row.original.status}</span>,
    }),
    helper.accessor((row) => row.app, { id: "app", header: "App", enableSorting: false, cell: ({ row }) => row.original.app || <span className="dim">–</span> }),
    helper.accessor((row) => row.release, { id: "release", header: "Release", enableSorting: false, cell: ({ row }) => <ReleaseChip project={project} app={row.original.app} digest={row.original.release} /> }),
    helper.accessor((row) => row.model, { id: "model", header: "Model", enableSorting: false, cell: ({ row }) => <span title={row.original.model}>{row.original.model}</span> }),
    helper.accessor((row) => row.session, { id: "session", header: "Session", enableSorting: false, cell: ({ row }) => <span title={row.original.session}>{row.original.session}</span> }),
    helper.accessor((row) => row.usage.total, { id: "tokens", header: "Tokens", cell: ({ row }) => <span title={`${row.original.usage.input} in, ${row.original.usage.output} out`}>{compact(row.original.usage.total)}</span> }),
    helper.accessor((row) => row.cost, { id: "cost", header: "Cost", cell: ({ row }) => <CostCell row={row.original} /> }),
    helper.accessor((row) => row.duration_ms, { id: "duration", header: "Latency", cell: ({ row }) => duration(row.original.duration_ms) }),
    helper.accessor((row) => row.first_token_ms, { id: "first_token", header: "First token", cell: ({ row }) => duration(row.original.first_token_ms) }),
  ]);

function Time({ row, now }: { row: TraceRow; now: number }) {
  const ms = nanosToMs(row.start_ns);
  return (
    <time dateTime={new Date(ms).toISOString()} title={fullTime(ms)}>
      {timeOfDay(ms, now)}
    </time>
  );
}

function CostCell({ row }: { row: TraceRow }) {
  const { tip, text } = costOf(row);
  return <span title={tip}>{row.cost === null && row.unpriced_calls === 0 ? <span className="dim">{text}</span> : money(row.cost, row.currency)}</span>;
}
