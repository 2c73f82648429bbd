/** A piece of a text that both have, or that only the old or the new one has. */
export interface Piece {
  op: "equal" | "delete" | "insert";
  text: string;
}

/** More words than this on both sides are not compared one by one: it would take the square of them. */
const MOST = 1_500;

/**
 * What changed from one text to another, word by word: the longest common subsequence of words and the spaces between.
 * Joined without the inserted pieces it is the old text, without the deleted ones the new. Long texts that share no
 * beginning and end are told as one replacement.
 */
export function wordDiff(old: string, now: string): Piece[] {
  const a = words(old);
  const b = words(now);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const left = a.slice(head, a.length - tail);
  const right = b.slice(head, b.length - tail);
  const middle = left.length > MOST || right.length > MOST ? [piece("delete", left), piece("insert", right)] : aligned(left, right);
  return joined([piece("equal", a.slice(0, head)), ...middle, piece("equal", a.slice(a.length - tail))]);
}

function words(text: string): string[] {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

function piece(op: Piece["op"], parts: string[]): Piece {
  return { op, text: parts.join("") };
}

function aligned(a: string[], b: string[]): Piece[] {
  const width = b.length + 1;
  const length = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => length[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) length[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const pieces: Piece[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      pieces.push({ op: "equal", text: a[i] ?? "" });
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1))) pieces.push({ op: "delete", text: a[i++] ?? "" });
    else pieces.push({ op: "insert", text: b[j++] ?? "" });
  }
  return pieces;
}

/** Neighbours of one kind become one; of a replacement the old words stand before the new. */
function joined(pieces: Piece[]): Piece[] {
  const out: Piece[] = [];
  let gone = "";
  let come = "";
  const flush = (): void => {
    if (gone !== "") out.push({ op: "delete", text: gone });
    if (come !== "") out.push({ op: "insert", text: come });
    gone = come = "";
  };
  for (const { op, text } of pieces) {
    if (text === "") continue;
    if (op === "delete") gone += text;
    else if (op === "insert") come += text;
    else {
      flush();
      const last = out.at(-1);
      if (last?.op === "equal") last.text += text;
      else out.push({ op, text });
    }
  }
  flush();
  return out;
}
