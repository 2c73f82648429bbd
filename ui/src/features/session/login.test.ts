import { describe, expect, it } from "vitest";
import { safeNext, tokenOfHash } from "./LoginPage";

describe("after signing in the visitor stays on this site", () => {
  it.each(["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", undefined])("%s leads home", (next) => expect(safeNext(next)).toBe("/"));
  it("a page of the console is kept with its filters", () => expect(safeNext("/p/default/traces?status=error")).toBe("/p/default/traces?status=error"));
  it("the sign-in page does not lead to itself", () => expect(safeNext("/login?token=x")).toBe("/"));
});

describe("the token of a sign-in link", () => {
  it("is read from behind the hash", () => expect(tokenOfHash("#token=tetrad_link_Ab1")).toBe("tetrad_link_Ab1"));
  it.each(["", "#", "#token=", "#other=1", "#token=a b"])("%s holds none", (hash) => expect(tokenOfHash(hash)).toBeUndefined());
});
