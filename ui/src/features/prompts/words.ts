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

/** Past this many pairs of words two lines are shown whole: nobody reads such a comparison, and it takes long. */
const MOST_PAIRS = 250_000;
/** Lines with less than this share in common are different lines, and marking their few common words would mislead. */
const LEAST_COMMON = 0.25;

function tokens(line: string): string[] {
  return line.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

/** Two lines word by word: what stays and what does not, for each of them. */
export function wordPieces(old: string, now: string): [Piece[], Piece[]] {
  const a = tokens(old);
  const b = tokens(now);
  const whole = (): [Piece[], Piece[]] => [one(old), one(now)];
  if (a.length * b.length > MOST_PAIRS) return whole();
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] = a[i] === b[j] ? (longest[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
  const left: Piece[] = [];
  const right: Piece[] = [];
  let [i, j, common] = [0, 0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      common += (a[i] ?? "").trim().length;
      add(left, a[i] ?? "", false);
      add(right, b[j] ?? "", false);
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && (longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0))) {
      add(left, a[i++] ?? "", true);
    } else {
      add(right, b[j++] ?? "", true);
    }
  }
  return common < LEAST_COMMON * Math.max(old.trim().length, now.trim().length) ? whole() : [left, right];
}

function one(text: string): Piece[] {
  return text === "" ? [] : [{ text, changed: false }];
}

function add(pieces: Piece[], text: string, changed: boolean): void {
  const last = pieces.at(-1);
  if (last?.changed === changed) last.text += text;
  else pieces.push({ text, changed });
}

/** Lines as the API gives them, numbered, and the replaced ones compared word by word in their order. */
export function diffLines(lines: readonly { mark: string; text: string }[]): DiffLine[] {
  const found: DiffLine[] = [];
  let [old, now, index] = [1, 1, 0];
  while (index < lines.length) {
    const line = lines[index];
    if (line === undefined) break;
    if (line.mark === " ") {
      found.push({ mark: " ", old: old++, new: now++, pieces: one(line.text) });
      index++;
      continue;
    }
    const gone: string[] = [];
    const came: string[] = [];
    for (let next = lines[index]; next !== undefined && next.mark !== " "; next = lines[++index]) (next.mark === "-" ? gone : came).push(next.text);
    const pairs = gone.map((text, n) => (n < came.length ? wordPieces(text, came[n] ?? "") : null));
    for (const [n, text] of gone.entries()) found.push({ mark: "-", old: old++, new: null, pieces: pairs[n]?.[0] ?? one(text) });
    for (const [n, text] of came.entries()) found.push({ mark: "+", old: null, new: now++, pieces: pairs[n]?.[1] ?? one(text) });
  }
  return found;
}
