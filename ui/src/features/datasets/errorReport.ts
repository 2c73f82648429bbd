import { asProblem } from "@/api/problem";

/** What is wrong with one line of a file. */
export interface LineError {
  line: number;
  field: string;
  reason: string;
}

/** The faults of an import line by line; null where it failed for another reason. */
export function lineErrors(error: unknown): LineError[] | null {
  const problem = asProblem(error);
  if (problem.code !== "bad_rows") return null;
  const read = problem.errors.map(({ loc, msg }) => {
    const place = /^line (\d+)(?:\.(.*))?$/s.exec(loc);
    return place ? { line: Number(place[1]), field: place[2] ?? "", reason: msg } : null;
  });
  const lines = read.filter((each) => each !== null);
  return lines.length > 0 ? lines : null;
}

const FORMATS: Record<string, "jsonl" | "json" | "csv" | "parquet"> = { jsonl: "jsonl", ndjson: "jsonl", json: "json", csv: "csv", tsv: "csv", parquet: "parquet" };

/** How a file is written, by its name's end. */
export function formatOf(name: string): "jsonl" | "json" | "csv" | "parquet" {
  return FORMATS[/\.([a-z0-9]+)$/i.exec(name)?.[1]?.toLowerCase() ?? ""] ?? "jsonl";
}

/** A dataset's name out of a file's: what the server allows of it. */
export function nameOf(file: string): string {
  return file
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63);
}
