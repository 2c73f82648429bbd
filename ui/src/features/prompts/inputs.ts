import type { PromptVariable } from "@/api/prompts";

/** What a person typed for an example: texts by variable, and what the user says. */
export interface Inputs {
  values: Record<string, string>;
  message: string;
}

export const NO_INPUTS: Inputs = { values: {}, message: "" };

/** The values that were typed, as the prompt's types ask for them; empty means the default. Problems are by variable. */
export function readValues(variables: readonly PromptVariable[], values: Record<string, string>): { values: Record<string, unknown>; problems: Record<string, string> } {
  const found: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const variable of variables) {
    const typed = values[variable.name] ?? "";
    if (typed.trim() === "") {
      if (variable.required) problems[variable.name] = "This variable has no default: give a value";
      continue;
    }
    if (variable.type === "string") {
      found[variable.name] = typed;
      continue;
    }
    try {
      found[variable.name] = JSON.parse(typed);
    } catch {
      problems[variable.name] = `Not ${variable.type === "integer" || variable.type === "array" || variable.type === "object" ? "an" : "a"} ${variable.type}: write it as JSON`;
    }
  }
  return { values: found, problems };
}

/** A row of a dataset as inputs: fields that are named like variables, and what a user says in it. */
export function inputsOfRow(row: Record<string, unknown>, variables: readonly PromptVariable[]): Inputs {
  const inner = isObject(row.input) ? row.input : {};
  const values: Record<string, string> = {};
  for (const { name } of variables) {
    const value = row[name] ?? inner[name];
    if (value !== undefined && value !== null) values[name] = typeof value === "string" ? value : JSON.stringify(value);
  }
  return { values, message: messageOf(row.messages) ?? messageOf(inner.messages) ?? firstText(row.input, row.question, row.prompt, inner.question) };
}

function messageOf(messages: unknown): string | undefined {
  if (!Array.isArray(messages)) return undefined;
  const said = messages.filter((m): m is { role: string; content: string } => isObject(m) && m.role === "user" && typeof m.content === "string");
  return said.at(-1)?.content;
}

function firstText(...values: unknown[]): string {
  return values.find((value): value is string => typeof value === "string" && value !== "") ?? "";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
