import { expect, it } from "vitest";
import type { PromptVariable } from "@/api/prompts";
import { inputsOfRow, readValues } from "./inputs";

const variable = (name: string, type: string, required = false): PromptVariable => ({ name, type, required, default: null, description: "" });
const VARIABLES = [variable("tone", "string", true), variable("most", "integer"), variable("tags", "array")];

it("values are read by the types of their variables", () => {
  expect(readValues(VARIABLES, { tone: "kind", most: "3", tags: '["a"]', gone: "x" })).toEqual({ values: { tone: "kind", most: 3, tags: ["a"] }, problems: {} });
});

it("what is empty is left to its default, and asked for where there is none", () => {
  const read = readValues(VARIABLES, { tone: " ", most: "" });
  expect(read.values).toEqual({});
  expect(Object.keys(read.problems)).toEqual(["tone"]);
  expect(readValues(VARIABLES, { tone: "a", most: "three" }).problems.most).toContain("Not an integer");
});

it("a row of a dataset gives what is named like a variable, and the last that a user says", () => {
  expect(inputsOfRow({ tone: "dry", most: 2, messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }, { role: "user", content: "c" }] }, VARIABLES)).toEqual({ values: { tone: "dry", most: "2" }, message: "c" });
  expect(inputsOfRow({ input: "Why?", output: "So." }, VARIABLES)).toEqual({ values: {}, message: "Why?" });
  expect(inputsOfRow({ input: { tags: ["x"], question: "How?" } }, VARIABLES)).toEqual({ values: { tags: '["x"]' }, message: "How?" });
});
