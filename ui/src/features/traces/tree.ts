import { betweenMs } from "@/kit/format";

/** What the tree needs of a span. */
export interface TreeSpan {
  span_id: string;
  parent_id: string;
  start_ns: string;
  end_ns: string;
}

export interface Row<S extends TreeSpan> {
  span: S;
  depth: number;
  children: number;
  /** All spans below, so that a folded row tells what it hides. */
  descendants: number;
  offset_ms: number;
  duration_ms: number;
}

export interface Tree<S extends TreeSpan> {
  roots: string[];
  children: Map<string, string[]>;
  spans: Map<string, S>;
  descendants: Map<string, number>;
  start_ns: bigint;
  duration_ms: number;
}

/**
 * Builds the tree of a trace. A span whose parent is not there is a root (its parent may come later, or was sampled
 * away); a span in a loop of parents is cut loose, so that every span is shown exactly once. No recursion: a chain may
 * be tens of thousands deep.
 */
export function buildTree<S extends TreeSpan>(list: readonly S[]): Tree<S> {
  const spans = new Map<string, S>();
  for (const span of list) if (!spans.has(span.span_id)) spans.set(span.span_id, span);
  const starts = new Map<string, bigint>();
  for (const span of spans.values()) starts.set(span.span_id, BigInt(span.start_ns));
  const byStart = (a: string, b: string): number => {
    const left = starts.get(a) ?? 0n;
    const right = starts.get(b) ?? 0n;
    return left < right ? -1 : left > right ? 1 : a < b ? -1 : 1;
  };

  const children = new Map<string, string[]>();
  const roots: string[] = [];
  for (const span of spans.values()) {
    if (span.parent_id === "" || span.parent_id === span.span_id || !spans.has(span.parent_id)) roots.push(span.span_id);
    else push(children, span.parent_id, span.span_id);
  }
  const order = walk(roots, children);
  const seen = new Set(order);
  for (const id of [...spans.keys()].sort(byStart)) {
    if (seen.has(id)) continue;
    const parent = spans.get(id)?.parent_id ?? "";
    children.set(parent, (children.get(parent) ?? []).filter((child) => child !== id));
    roots.push(id);
    for (const found of walk([id], children)) {
      seen.add(found);
      order.push(found);
    }
  }
  roots.sort(byStart);
  for (const ids of children.values()) ids.sort(byStart);

  const descendants = new Map<string, number>();
  for (let i = order.length - 1; i >= 0; i -= 1) {
    const id = order[i] ?? "";
    let total = 0;
    for (const child of children.get(id) ?? []) total += 1 + (descendants.get(child) ?? 0);
    descendants.set(id, total);
  }

  let start: bigint | null = null;
  let end: bigint | null = null;
  for (const span of spans.values()) {
    const a = starts.get(span.span_id) ?? 0n;
    const b = BigInt(span.end_ns);
    if (start === null || a < start) start = a;
    if (end === null || b > end) end = b;
  }
  const first = start ?? 0n;
  return { roots, children, spans, descendants, start_ns: first, duration_ms: Number((end ?? first) - first) / 1e6 };
}

function push(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** Depth first, parents before children; stops at ids met before. */
function walk(roots: readonly string[], children: ReadonlyMap<string, readonly string[]>): string[] {
  const order: string[] = [];
  const stack = [...roots].reverse();
  const met = new Set<string>();
  while (stack.length > 0) {
    const id = stack.pop();
    if (id === undefined || met.has(id)) continue;
    met.add(id);
    order.push(id);
    const below = children.get(id) ?? [];
    for (let i = below.length - 1; i >= 0; i -= 1) {
      const child = below[i];
      if (child !== undefined) stack.push(child);
    }
  }
  return order;
}

/** The rows that are to be seen, top to bottom, without what stands below a folded span. */
export function visibleRows<S extends TreeSpan>(tree: Tree<S>, folded: ReadonlySet<string>): Row<S>[] {
  const rows: Row<S>[] = [];
  const stack = [...tree.roots].reverse().map((id) => ({ id, depth: 0 }));
  for (let next = stack.pop(); next; next = stack.pop()) {
    const span = tree.spans.get(next.id);
    if (!span) continue;
    const below = tree.children.get(next.id) ?? [];
    rows.push({
      span,
      depth: next.depth,
      children: below.length,
      descendants: tree.descendants.get(next.id) ?? 0,
      offset_ms: Number(BigInt(span.start_ns) - tree.start_ns) / 1e6,
      duration_ms: Math.max(0, betweenMs(span.start_ns, span.end_ns)),
    });
    if (folded.has(next.id)) continue;
    for (let i = below.length - 1; i >= 0; i -= 1) {
      const id = below[i];
      if (id !== undefined) stack.push({ id, depth: next.depth + 1 });
    }
  }
  return rows;
}

/** Round marks for a time axis of this length: at most `most`, on 1, 2 or 5 times a power of ten. */
export function ticks(duration_ms: number, most = 6): number[] {
  if (!(duration_ms > 0) || most < 1) return [0];
  const raw = duration_ms / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((m) => m * power >= raw) ?? 10) * power;
  const marks: number[] = [];
  for (let i = 0; i * step <= duration_ms * (1 + 1e-9); i += 1) marks.push(i * step);
  return marks;
}
