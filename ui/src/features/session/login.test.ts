import { beforeEach, describe, expect, it } from "vitest";
import { recallNext, rememberNext, safeNext, tokenOfHash } from "./LoginPage";

describe("after signing in the visitor stays on this site", () => {
  it.each(["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", undefined])("%s leads home", (next) => expect(safeNext(next)).toBe("/"));
  it("a page of the console is kept with its filters", () => expect(safeNext("/p/default/traces?status=error")).toBe("/p/default/traces?status=error"));
  it("the sign-in page does not lead to itself", () => expect(safeNext("/login#token=x")).toBe("/"));
});

describe("the token of a sign-in link", () => {
  it("is read from behind the hash", () => expect(tokenOfHash("#token=tetrad_link_Ab1")).toBe("tetrad_link_Ab1"));
  it.each(["", "#", "#token=", "#other=1", "#token=a b"])("%s holds none", (hash) => expect(tokenOfHash(hash)).toBeUndefined());
});

describe("where a visitor wanted to go", () => {
  beforeEach(() => localStorage.clear());
  it("is recalled once", () => {
    rememberNext("/p/x", 1000);
    expect([recallNext(2000), recallNext(2000)]).toEqual(["/p/x", undefined]);
  });
  it("is forgotten after a quarter of an hour", () => {
    rememberNext("/p/x", 0);
    expect(recallNext(16 * 60_000)).toBeUndefined();
  });
  it.each(["", "{", "[]", '{"next":3,"at":0}', '{"next":"/x"}'])("broken storage %j is nothing", (text) => {
    localStorage.setItem("tetrad.next", text);
    expect(recallNext(1)).toBeUndefined();
  });
});
