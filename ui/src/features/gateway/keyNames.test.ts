import { expect, it } from "vitest";
import { idPages, whoOf } from "./keyNames";

it("the server is asked for each id once, so many at a time, and only for ids of keys", () => {
  expect(idPages(["key_b", "support", "key_a", "*", "key_b", "key_c", ""], 2)).toEqual([["key_a", "key_b"], ["key_c"]]);
  expect(idPages(["*", "playground"])).toEqual([]);
});

it("somebody is told by a name, else by the end of an id", () => {
  const id = "key_01a22de41b17701bb10403a581baf39e";
  expect(whoOf(id, new Map([[id, "ci"]]))).toBe("ci");
  expect(whoOf(id, new Map())).toBe("key …81baf39e");
  expect(whoOf("tetrad", new Map())).toBe("tetrad");
});
