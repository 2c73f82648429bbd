import { useMemo, useState, type ReactNode } from "react";
import css from "./diff.module.css";
import { wordDiff, type Piece } from "./wordDiff";

const LONG = 4_000;

/** A text with what came and went marked in place; also said in words for those who do not see colours. */
export function Words({ pieces }: { pieces: Piece[] }) {
  return (
    <span className={css.words}>
      {pieces.map((piece, i) =>
        piece.op === "equal" ? (
          <span key={i}>{piece.text}</span>
        ) : piece.op === "delete" ? (
          <del key={i}>{piece.text}</del>
        ) : (
          <ins key={i}>{piece.text}</ins>
        ),
      )}
    </span>
  );
}

/** One value before and after; texts word by word. */
export function ValueDiff({ old, now, inOld = true, inNew = true }: { old: unknown; now: unknown; inOld?: boolean; inNew?: boolean }) {
  const pieces = useMemo(() => (inOld && inNew && typeof old === "string" && typeof now === "string" && (old.length > 24 || now.length > 24) ? wordDiff(old, now) : null), [old, now, inOld, inNew]);
  if (pieces) return <Cut text={<Words pieces={pieces} />} size={pieces.reduce((n, p) => n + p.text.length, 0)} />;
  return (
    <span className={css.values}>
      {inOld && <del>{shown(old)}</del>}
      {inOld && inNew && <span className={css.arrow}>→</span>}
      {inNew && <ins>{shown(now)}</ins>}
    </span>
  );
}

function Cut({ text, size }: { text: ReactNode; size: number }) {
  const [open, setOpen] = useState(false);
  if (size <= LONG || open) return text;
  return (
    <>
      <span className={css.cut}>{text}</span>
      <button type="button" className={css.open} onClick={() => setOpen(true)}>
        Show all of it
      </button>
    </>
  );
}

/** A JSON value as one line; a text without its quotes only where that cannot be taken for another value. */
export function shown(value: unknown): string {
  if (value === undefined) return "absent";
  if (typeof value === "string" && value !== "" && !/^(true|false|null|-?\d|["[{])/.test(value)) return value;
  return JSON.stringify(value);
}

/** How many rows, files or parts came, went, changed. */
export function Counts({ added = 0, removed = 0, changed = 0, moved = 0 }: { added?: number; removed?: number; changed?: number; moved?: number }) {
  return (
    <span className={css.counts}>
      {added > 0 && <span data-kind="added">+{added} added</span>}
      {removed > 0 && <span data-kind="removed">−{removed} removed</span>}
      {changed > 0 && <span data-kind="changed">{changed} changed</span>}
      {moved > 0 && <span data-kind="moved">{moved} moved</span>}
      {added + removed + changed + moved === 0 && <span>no rows differ</span>}
    </span>
  );
}

const NAMES: Record<string, string> = { added: "added", removed: "removed", changed: "changed", moved: "moved" };

export function ChangeTag({ change }: { change: string }) {
  return (
    <span className={css.tag} data-kind={change}>
      {NAMES[change] ?? change}
    </span>
  );
}
