import { describe, expect, it } from "vitest";
import { columnsOf, fieldsOf } from "./schema";

const schema = {
  type: "object",
  properties: {
    meta: { type: "object", properties: { lang: { type: "string", enum: ["de", "en"] } }, required: ["lang"] },
    topic: { type: "string", minLength: 1 },
    messages: { type: "array", items: { type: "object", properties: { role: { type: "string" } } } },
    score: { type: ["number", "null"] },
  },
  required: ["topic"],
};

it("fields stand before what is inside them, with their types and rules", () => {
  expect(fieldsOf(schema).map((f) => [f.path, f.depth, f.type, f.required, f.note])).toEqual([
    ["meta", 0, "object", false, ""],
    ["meta.lang", 1, "string", true, 'one of "de", "en"'],
    ["topic", 0, "string", true, "minLength 1"],
    ["messages", 0, "array of object", false, ""],
    ["messages[].role", 1, "string", false, ""],
    ["score", 0, "number or null", false, ""],
  ]);
});

it("the conversation comes first, then what reads as a line", () => {
  expect(columnsOf(schema)).toEqual(["messages", "topic", "score", "meta"]);
  expect(columnsOf(schema, 2)).toEqual(["messages", "topic"]);
});

describe("what is no schema has no fields", () => {
  it.each([null, undefined, 3, [], { type: "object" }, { properties: 3 }, { properties: { a: null } }])("%j", (value) => expect(fieldsOf(value).every((f) => f.type === "any")).toBe(true));
});
