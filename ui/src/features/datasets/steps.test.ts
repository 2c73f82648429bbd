import { expect, it } from "vitest";
import { stepsOf, toldOf } from "./steps";

it("steps are told by what they do and with what", () => {
  const params = { steps: [{ op: "split", salt: "a", from: 0, to: 800000 }, { filter: { path: "/lang" } }, "odd"], from: { name: "x" }, name: "y", format: "jsonl", key: null };
  expect(stepsOf(params)).toEqual([
    { op: "split", rest: "salt a, from 0, to 800000" },
    { op: "filter", rest: '{"path":"/lang"}' },
    { op: "odd", rest: "" },
  ]);
  expect(toldOf(params)).toEqual([["format", "jsonl"]]);
  expect(stepsOf({})).toEqual([]);
});
