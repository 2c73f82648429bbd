import { expect, it } from "vitest";
import { change } from "./OverviewPage";

it.each([
  [0, 0, "as before"],
  [5, 0, "none before"],
  [0, 5, "−100 % on the window before"],
  [110, 100, "+10 % on the window before"],
  [1000, 1001, "as before"],
  [5000, 10, "+over 900 % on the window before"],
])("%d after %d is %s", (now, before, text) => expect(change(now, before)).toBe(text));
