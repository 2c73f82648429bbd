import type { Tool, ToolServer, ToolServerRest } from "@/api/tools";
import type { Tone } from "@/kit/Chips";
import { plural } from "@/kit/format";

/** Stands for a server's instructions to models, which are approved as tools are; no tool has such a name. */
export const INSTRUCTIONS = "(instructions)";

export function toldTool(name: string): string {
  return name === "" ? INSTRUCTIONS : name;
}

export const TOOL_STATES: Record<Tool["state"], { word: string; tone: Tone; why: string }> = {
  approved: { word: "approved", tone: "good", why: "It is as it was approved" },
  changed: { word: "changed", tone: "bad", why: "It says something else of itself than what was approved" },
  new: { word: "waiting", tone: "warn", why: "Nobody approved it yet" },
  gone: { word: "gone", tone: "neutral", why: "The server showed it once, and shows it no more" },
};

export const POLICIES: { value: ToolServer["on_change"]; label: string; word: string }[] = [
  { value: "refuse", label: "is hidden and refused, with an alert", word: "refuses what changed" },
  { value: "alert", label: "is passed on, with an alert", word: "passes on what changed" },
];

/** How a server stands, in a word: what keeps it from being called first, then what waits for somebody. One whose rest is over is left out no more. */
export function standing({ problem, tools, rests }: Pick<ToolServer, "problem" | "tools" | "rests">): { tone: Tone; word: string; why: string } {
  const [changed, fresh, approved] = [tools.changed ?? 0, tools.new ?? 0, tools.approved ?? 0];
  if (problem !== "") return { tone: "bad", word: "cannot be called", why: problem };
  if (changed > 0) return { tone: "bad", word: "changed", why: `${plural(changed, "definition")} ${changed === 1 ? "is" : "are"} not as approved` };
  const silent = rests.filter((rest) => rest.state !== "due");
  if (silent.length > 0) return { tone: "bad", word: silent.every((rest) => rest.state === "probing") ? "asked again" : "rests", why: `Gateways leave it out where all servers are asked: ${reasons(silent)}` };
  if (approved === 0 && fresh === 0) return { tone: "warn", word: "no tools seen", why: "Ask it for its tools" };
  if (fresh > 0) return { tone: "warn", word: "waits for approval", why: `Nobody approved ${plural(fresh, "definition")} yet` };
  if (rests.length > 0) return { tone: "neutral", word: "asked next", why: `Its rest is over: the next request asks it again. It did not answer ${reasons(rests)}` };
  return { tone: "good", word: "well", why: "Its tools are as they were approved" };
}

function reasons(rests: readonly ToolServerRest[]): string {
  return rests.map(({ method, reason }) => `${method}: ${reason}`).join("; ");
}

/** When a server that rests is asked again. */
export function askedAgain({ state, next_probe_at }: ToolServerRest, now: number): string {
  if (state === "probing") return "it is being asked again now";
  const left_ms = next_probe_at === null ? 0 : Date.parse(next_probe_at) - now;
  return left_ms > 0 ? `it is asked again in ${Math.ceil(left_ms / 1000)} s` : "the next request asks it again";
}

/** How many definitions stand how, a server's instructions among them, which `ToolServer.tools` does not count. */
export function countsOf(tools: readonly Tool[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of tools) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** Whether somebody has to read it before it may be called, where changes are refused. */
export function waits(tool: Tool): boolean {
  return tool.state === "new" || tool.state === "changed";
}

/** A text with what is not seen made visible: a definition must not say to a model what its reader does not see. */
export function visible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => (c === "\n" ? c : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`));
}

/** The description of a definition, or a server's instructions. */
export function descriptionOf(definition: Tool["definition"]): string {
  const told = definition?.[toldBy(definition)];
  return typeof told === "string" ? visible(told) : "";
}

/** The field that the description stands in; whatever else a definition has is shown with its schemas. */
function toldBy(definition: NonNullable<Tool["definition"]>): string {
  return "description" in definition ? "description" : "instructions";
}

/** All of a definition but its name and what `descriptionOf` tells, as JSON with its keys in order. */
export function restOf(definition: Tool["definition"]): string {
  if (definition === null) return "";
  const told = toldBy(definition);
  const rest = Object.fromEntries(Object.entries(definition).filter(([key, value]) => typeof value !== "string" || (key !== told && key !== "name")));
  return Object.keys(rest).length === 0 ? "" : visible(JSON.stringify(sorted(rest), null, 2));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, sorted(one)]),
  );
}
