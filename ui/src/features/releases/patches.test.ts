import { describe, expect, it } from "vitest";
import { patched, readParameter, readPatches, slotsOf, splitReference, writePatches } from "./patches";

const release = {
  prompt: [{ role: "system", name: "hello", version: "1.0.0" }],
  model: [{ role: "primary", name: "local/small", version: "1.0.0" }],
  data: [
    { role: "fewshot", name: "a", version: "1.0.0" },
    { role: "fewshot", name: "b", version: "2.0.0" },
    { role: "eval", name: "c", version: "1.0.0" },
  ],
} as never;

it("parts are named as the API names them, several of one role by their names too", () => {
  expect(slotsOf(release).map((slot) => slot.key)).toEqual(["prompt.system", "model.primary", "data.fewshot/a", "data.fewshot/b", "data.eval"]);
});

it("patches go into the URL and come back", () => {
  const patches = patched(patched({}, "prompt.system", "hello@2.0.0"), "data.eval", null);
  expect(readPatches(writePatches(patches))).toEqual(patches);
  expect(patched(patches, "data.eval", undefined)).toEqual({ "prompt.system": "hello@2.0.0" });
  expect(writePatches({})).toBeUndefined();
});

describe("what is no patch in a URL is none", () => {
  it.each([undefined, "", "{", "[]", "3", '{"code.app": "x"}'])("%j", (text) => expect(readPatches(text)).toEqual({}));
});

describe("a parameter is what it says", () => {
  it.each([["0.2", 0.2], ["true", true], ["null", null], ["warm", "warm"], ['["a"]', ["a"]], ["  ", undefined]])("%j", (text, value) => expect(readParameter(text)).toEqual(value));
});

it("a reference is a name and a version", () => {
  expect(splitReference("local/small@1.2.0")).toEqual({ name: "local/small", version: "1.2.0" });
  expect(splitReference("plain")).toEqual({ name: "plain", version: "" });
  expect(splitReference(null)).toEqual({ name: "", version: "" });
});
