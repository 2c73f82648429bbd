import { describe, expect, it } from "vitest";
import { traceIdIn } from "./Palette";

const id = "0af7651916cd43dd8448eb211c80319c";
describe("a trace id is found in what was pasted", () => {
  it.each([id, id.toUpperCase(), ` ${id}\n`, `00-${id}-b7ad6b7169203331-01`, `trace_id=${id}`])("%j", (text) => expect(traceIdIn(text)).toBe(id));
});
describe("what is no trace id is left alone", () => {
  it.each(["", "overview", id.slice(1), `${id}a`, "0".repeat(32), `sha256:${id}${id}`])("%j", (text) => expect(traceIdIn(text)).toBeNull());
});
