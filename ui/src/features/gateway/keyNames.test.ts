import { expect, it } from "vitest";
import { idPages } from "./keyNames";

it("the server is asked for each id once, so many at a time, and only for ids of keys", () => {
  expect(idPages(["key_b", "support", "key_a", "*", "key_b", "key_c", ""], 2)).toEqual([["key_a", "key_b"], ["key_c"]]);
  expect(idPages(["*", "playground"])).toEqual([]);
});
