import type { Budget, BudgetBody, Limit, LimitBody } from "@/api/limits";
import { compact, exactPrice, plural } from "@/kit/format";
import { whoOf } from "./keyNames";

export const SUBJECTS: { value: LimitBody["subject"]; label: string; each: string }[] = [
  { value: "project", label: "The whole project", each: "the project" },
  { value: "team", label: "Team", each: "each team" },
  { value: "key", label: "API key", each: "each key" },
  { value: "app", label: "App", each: "each app" },
  { value: "user", label: "User", each: "each user" },
  { value: "model", label: "Model", each: "each model" },
];

export const PERIODS: { value: BudgetBody["period"]; label: string }[] = [
  { value: "day", label: "a day" },
  { value: "week", label: "a week" },
  { value: "month", label: "a month" },
  { value: "total", label: "in all" },
];

/** `60 requests a minute`, `10k tokens a minute`, `4 calls at once`. */
export function amountOf({ measure, amount }: Pick<Limit, "measure" | "amount">): string {
  if (measure === "concurrency") return `${plural(amount, "call")} at once`;
  return `${compact(amount)} ${measure} a minute`;
}

/** Whom a rule concerns: `each key`, `the app support-bot`. Names of keys stand for their ids where they are known. */
export function subjectOf({ subject, name }: Pick<Limit, "subject" | "name">, names: ReadonlyMap<string, string> = new Map()): string {
  const words = SUBJECTS.find((each) => each.value === subject);
  if (name === "*" || subject === "project") return words?.each ?? subject;
  if (subject !== "key") return `the ${subject} ${names.get(name) ?? name}`;
  const who = whoOf(name, names);
  return who.startsWith("key …") ? `the ${who}` : `the key ${who}`;
}

/** Whose account it is: the subject itself, or the one of many that a rule for each means. */
export function accountOf(budget: Pick<Budget, "subject" | "name" | "instance">, names: ReadonlyMap<string, string> = new Map()): string {
  if (budget.subject === "project" || budget.instance === "") return subjectOf(budget, names);
  return subjectOf({ subject: budget.subject, name: budget.instance }, names);
}

/** `$12.50 a month`. */
export function sumOf({ amount, currency, period }: Pick<Budget, "amount" | "currency" | "period">): string {
  return `${exactPrice(amount, currency)} ${PERIODS.find((each) => each.value === period)?.label ?? period}`;
}
