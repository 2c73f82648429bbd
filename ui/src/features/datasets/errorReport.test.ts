import { describe, expect, it } from "vitest";
import { readProblem } from "@/api/problem";
import { formatOf, lineErrors, nameOf } from "./errorReport";

it("a refused import is told by line, field and reason", () => {
  const problem = readProblem(422, { code: "bad_rows", detail: "the import: line 2: twice", errors: [{ loc: ["line 2"], msg: "twice" }, { loc: ["line 4", "/a.b/id"], msg: "missing" }] });
  expect(lineErrors(problem)).toEqual([
    { line: 2, field: "", reason: "twice" },
    { line: 4, field: "/a.b/id", reason: "missing" },
  ]);
});

it("another refusal is no report", () => {
  expect(lineErrors(readProblem(413, { code: "dataset_too_large", detail: "too large" }))).toBeNull();
  expect(lineErrors(new TypeError("fetch failed"))).toBeNull();
});

describe("a file's name says how it is written and what it may be called", () => {
  it.each([
    ["Support Chats.v2.JSONL", "jsonl", "support-chats-v2"],
    ["rows.csv", "csv", "rows"],
    ["a.parquet", "parquet", "a"],
    ["plain", "jsonl", "plain"],
    ["__.json", "json", ""],
  ])("%s", (file, format, name) => expect([formatOf(file), nameOf(file)]).toEqual([format, name]));
});
