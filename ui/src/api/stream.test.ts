import { expect, it } from "vitest";
import { EventReader, readEvent } from "./stream";

it("events are whole however their text is cut", () => {
  const text = 'event: start\ndata: {"trace_id":"ab"}\n\n: comment\n\ndata: {"choices":[]}\r\n\r\ndata: [DONE]\n\n';
  for (let size = 1; size <= text.length; size += 7) {
    const reader = new EventReader();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...reader.push(text.slice(at, at + size)));
    expect(found).toEqual([
      { name: "start", data: '{"trace_id":"ab"}' },
      { name: "message", data: '{"choices":[]}' },
      { name: "message", data: "[DONE]" },
    ]);
  }
});

it("a chunk tells its text, why it ended and what it took", () => {
  const data = JSON.stringify({ choices: [{ delta: { content: "Hi" }, finish_reason: "stop" }], usage: { prompt_tokens: 3, completion_tokens: 1 } });
  expect(readEvent({ name: "message", data })).toEqual([
    { kind: "text", text: "Hi" },
    { kind: "finish", reason: "stop" },
    { kind: "usage", usage: { input: 3, output: 1 } },
  ]);
});

it("a problem keeps what to do next, and a failure of the model is one", () => {
  const [told] = readEvent({ name: "problem", data: '{"status":404,"code":"model_not_found","detail":"no model","hint":"choose another"}' });
  expect(told?.kind === "problem" && [told.problem.code, told.problem.message, told.problem.hint]).toEqual(["model_not_found", "No model", "Choose another"]);
  expect(readEvent({ name: "message", data: '{"error":{"message":"gone","code":"upstream_lost"}}' })[0]?.kind).toBe("problem");
});

it("a problem whose call was traced names the trace first", () => expect(readEvent({ name: "problem", data: '{"status":503,"detail":"gone","trace_id":"ab"}' }).map((told) => told.kind)).toEqual(["start", "problem"]));

it("what cannot be read says nothing", () => {
  for (const data of ["[DONE]", "", "null", "{", "[]", '{"choices":[null],"usage":null}']) expect(readEvent({ name: "message", data })).toEqual([]);
});
