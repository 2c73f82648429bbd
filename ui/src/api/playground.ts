import { EventReader, readEvent, type Told } from "./stream";
import { ApiProblem, readProblem, unreachable } from "./problem";
import type { Schemas } from "./http";

export type PlaygroundBody = Schemas["PlaygroundBody"];

/** Asks a model and tells what comes, as it comes; throws an `ApiProblem` where nothing does. Aborting ends the call. */
export async function runPlayground(project: string, body: PlaygroundBody, tell: (told: Told) => void, signal: AbortSignal): Promise<void> {
  let response: Response;
  try {
    response = await fetch(`/api/v1/projects/${encodeURIComponent(project)}/playground`, {
      method: "POST",
      credentials: "same-origin",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) throw readProblem(response.status, await response.json().catch(() => null));
  const reader = response.body?.getReader();
  if (reader === undefined) throw new ApiProblem(-1, "unexpected_answer", "The answer has no body.");
  const decoder = new TextDecoder();
  const events = new EventReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const event of events.push(decoder.decode(value, { stream: true }))) for (const told of readEvent(event)) tell(told);
  }
}
