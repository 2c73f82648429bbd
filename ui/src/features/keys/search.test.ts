import { expect, test } from "vitest";
import { readKeysSearch } from "./search";

test("what the address says of the list of keys is kept, and what it cannot mean is left out", () => {
  expect(readKeysSearch({ q: "bot", state: "revoked", sort: "-last_used" })).toEqual({ q: "bot", state: "revoked", sort: "-last_used" });
  expect(readKeysSearch({ q: 7, state: "lost", sort: "secret" })).toEqual({});
});

test("the newest first is not said: it is so without", () => {
  expect(readKeysSearch({ sort: "-created", q: "" })).toEqual({});
});

test("no search is longer than the server takes", () => {
  expect(readKeysSearch({ q: "k".repeat(101) }).q).toHaveLength(100);
});
