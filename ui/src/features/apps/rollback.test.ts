import { expect, it } from "vitest";
import type { AppDetail } from "@/api/apps";
import { releaseBefore } from "./Rollback";

const move = (sequence: number, ref: string, from: string | null, to: string | null): AppDetail["history"][number] => ({ sequence, ref, from, to, at: "", by: "", reason: "" }) as AppDetail["history"][number];

it("the release before is the one that the ref came from when it came to the present one", () => {
  const history = [move(4, "staging", "a", "b"), move(3, "production", "b", "c"), move(2, "production", "a", "b"), move(1, "production", null, "a")];
  expect(releaseBefore({ history }, { name: "production", digest: "c" })).toBe("b");
  expect(releaseBefore({ history }, { name: "staging", digest: "b" })).toBe("a");
  expect(releaseBefore({ history: history.slice(3) }, { name: "production", digest: "a" })).toBeNull();
  expect(releaseBefore({ history: [] }, { name: "production", digest: "a" })).toBeNull();
});
