import { wordDiff } from "@/kit/wordDiff";

/** A piece of a line; `changed` is what the other line does not have. */
export interface Piece {
  text: string;
  changed: boolean;
}

export type Mark = " " | "-" | "+";

/** A line of a difference with its number on either side, from 1, and its words where a partner is known. */
export interface DiffLine {
  mark: Mark;
  old: number | null;
  new: number | null;
  pieces: Piece[];
}

/** Lines with less than this share in common are different lines, and marking their few common words would mislead. */
const LEAST_COMMON = 0.25;

/** Two lines word by word: what stays and what does not, for each of them. */
export function wordPieces(old: string, now: string): [Piece[], Piece[]] {
  const pieces = wordDiff(old, now);
  const common = pieces.reduce((sum, piece) => sum + (piece.op === "equal" ? piece.text.replace(/\s+/g, "").length : 0), 0);
  if (common < LEAST_COMMON * Math.max(old.trim().length, now.trim().length)) return [one(old), one(now)];
  const side = (gone: "insert" | "delete"): Piece[] => pieces.filter((piece) => piece.op !== gone).map((piece) => ({ text: piece.text, changed: piece.op !== "equal" }));
  return [side("insert"), side("delete")];
}

function one(text: string): Piece[] {
  return text === "" ? [] : [{ text, changed: false }];
}

/** A line as the API gives it; `from` says that it is not the next one: its number in the old text and in the new. */
export interface MarkedLine {
  mark: string;
  text: string;
  from?: { old: number; new: number };
}

/** Marked lines, numbered, and the replaced ones compared word by word in their order. */
export function diffLines(lines: readonly MarkedLine[]): DiffLine[] {
  const found: DiffLine[] = [];
  let [old, now, index] = [1, 1, 0];
  while (index < lines.length) {
    const line = lines[index];
    if (line === undefined) break;
    if (line.from) [old, now] = [line.from.old, line.from.new];
    if (line.mark === " ") {
      found.push({ mark: " ", old: old++, new: now++, pieces: one(line.text) });
      index++;
      continue;
    }
    const gone: string[] = [];
    const came: string[] = [];
    // A line that stands elsewhere begins a replacement of its own.
    for (let next = lines[index]; next !== undefined && next.mark !== " " && (next === line || next.from === undefined); next = lines[++index]) (next.mark === "-" ? gone : came).push(next.text);
    const pairs = gone.map((text, n) => (n < came.length ? wordPieces(text, came[n] ?? "") : null));
    for (const [n, text] of gone.entries()) found.push({ mark: "-", old: old++, new: null, pieces: pairs[n]?.[0] ?? one(text) });
    for (const [n, text] of came.entries()) found.push({ mark: "+", old: null, new: now++, pieces: pairs[n]?.[1] ?? one(text) });
  }
  return found;
}
