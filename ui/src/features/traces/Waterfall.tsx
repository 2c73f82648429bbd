import { useVirtualizer } from "@tanstack/react-virtual";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { useEffect, useRef, type KeyboardEvent } from "react";
import type { SpanRow } from "@/api/traces";
import { betweenMs, compact, duration } from "@/kit/format";
import { ticks, type Row } from "./tree";
import css from "./trace.module.css";

const ROW = 28;
/** Past this depth rows step in no further, so that a deep chain keeps its names in sight. */
const DEEPEST = 14;

interface Props {
  rows: Row<SpanRow>[];
  total_ms: number;
  chosen: string;
  folded: ReadonlySet<string>;
  onChoose: (id: string) => void;
  onFold: (id: string, closed: boolean) => void;
}

/** The tree of spans over a common time axis; only the rows in sight are in the page. */
export function Waterfall({ rows, total_ms, chosen, folded, onChoose, onFold }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 16 });
  const at = rows.findIndex((row) => row.span.span_id === chosen);
  useEffect(() => {
    if (at >= 0) virtual.scrollToIndex(at, { align: "auto" });
    // Only a new choice moves the view; folding elsewhere must not.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [chosen]);

  const onKey = (event: KeyboardEvent): void => {
    const row = rows[at];
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    switch (event.key) {
      case "ArrowDown":
      case "j":
        choose(at + 1);
        break;
      case "ArrowUp":
      case "k":
        choose(at - 1);
        break;
      case "Home":
        choose(0);
        break;
      case "End":
        choose(rows.length - 1);
        break;
      case "ArrowLeft":
        if (row && row.children > 0 && !folded.has(chosen)) onFold(chosen, true);
        else if (row && row.span.parent_id !== "" && rows.some((r) => r.span.span_id === row.span.parent_id)) onChoose(row.span.parent_id);
        break;
      case "ArrowRight":
        if (row && folded.has(chosen)) onFold(chosen, false);
        else if (row && row.children > 0) choose(at + 1);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const choose = (index: number): void => {
    const row = rows[Math.min(Math.max(index, 0), rows.length - 1)];
    if (row) onChoose(row.span.span_id);
  };

  const scale = total_ms > 0 ? 100 / total_ms : 0;
  const marks = ticks(total_ms, 3);
  return (
    <div className={css.waterfall}>
      <div className={css.axis} aria-hidden="true">
        <span>Span</span>
        <span className={css.marks}>
          {marks.map((ms) => (
            <span key={ms} style={{ left: `${Math.min(ms * scale, 100)}%` }} data-late={ms * scale > 85}>
              {duration(ms)}
            </span>
          ))}
        </span>
      </div>
      <div ref={scroller} className={css.tree} role="tree" aria-label="Spans" tabIndex={0} onKeyDown={onKey} aria-activedescendant={at >= 0 ? `span-${chosen}` : undefined}>
        <div style={{ height: virtual.getTotalSize(), position: "relative" }} role="presentation">
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            return row ? (
              <SpanLine key={row.span.span_id} row={row} top={item.start} scale={scale} marks={marks} chosen={row.span.span_id === chosen} folded={folded.has(row.span.span_id)} onChoose={onChoose} onFold={onFold} />
            ) : null;
          })}
        </div>
      </div>
    </div>
  );
}

interface LineProps {
  row: Row<SpanRow>;
  top: number;
  scale: number;
  marks: number[];
  chosen: boolean;
  folded: boolean;
  onChoose: (id: string) => void;
  onFold: (id: string, closed: boolean) => void;
}

function SpanLine({ row, top, scale, marks, chosen, folded, onChoose, onFold }: LineProps) {
  const { span, depth } = row;
  const tokens = span.usage?.total ?? 0;
  const first = span.first_chunk_ns !== "0" && span.first_chunk_ns !== "" ? betweenMs(span.start_ns, span.first_chunk_ns) : null;
  const left = row.offset_ms * scale;
  const width = row.duration_ms * scale;
  const after = left + width < 78;
  return (
    // The tree itself has the focus and the keys; its lines are only pressed.
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/interactive-supports-focus
    <div
      role="treeitem"
      id={`span-${span.span_id}`}
      aria-level={depth + 1}
      aria-selected={chosen}
      aria-expanded={row.children > 0 ? !folded : undefined}
      className={css.line}
      data-chosen={chosen}
      data-failed={span.status === "error"}
      data-call={span.usage !== null}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => onChoose(span.span_id)}
    >
      <span className={css.lineName} style={{ paddingLeft: 8 + Math.min(depth, DEEPEST) * 14 }}>
        {row.children > 0 ? (
          <button
            type="button"
            tabIndex={-1}
            aria-hidden="true"
            className={css.caret}
            onClick={(event) => {
              event.stopPropagation();
              onFold(span.span_id, !folded);
            }}
          >
            {folded ? <IconChevronRight size={13} /> : <IconChevronDown size={13} />}
          </button>
        ) : (
          <span className={css.caret} />
        )}
        <span className="cut" title={span.name}>
          {span.name}
          {span.status === "error" && <span className="unseen"> failed</span>}
        </span>
        {folded && <span className={css.hidden}>+{compact(row.descendants)}</span>}
        {tokens > 0 && <span className={css.tokens}>{compact(tokens)} tok</span>}
      </span>
      <span className={css.lane}>
        {marks.slice(1).map((ms) => (
          <i key={ms} className={css.gridline} style={{ left: `${Math.min(ms * scale, 100)}%` }} />
        ))}
        <span className={css.barSpan} style={{ left: `${left}%`, width: `max(2px, ${width}%)` }}>
          {first !== null && first > 0 && row.duration_ms > 0 && <i className={css.waiting} style={{ width: `${Math.min((first / row.duration_ms) * 100, 100)}%` }} title={`First token after ${duration(first)}`} />}
        </span>
        <span className={css.took} style={after ? { left: `calc(${left + width}% + 6px)` } : { right: `calc(${100 - left}% + 6px)` }} data-inside={!after && left < 14}>
          {duration(row.duration_ms)}
        </span>
      </span>
    </div>
  );
}
