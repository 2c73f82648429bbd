import type { Budget } from "@/api/limits";

/** Where a budget goes, if it goes on being spent as it was. */
export interface Projection {
  /** Per hour, since the account began in this period. */
  rate: number;
  /** What will have been spent when the period ends; null where it never ends. */
  atEnd: number | null;
  /** When nothing will be left, milliseconds since the epoch; null where that is not before the period's end. */
  emptyAt: number | null;
}

const HOUR_MS = 3_600_000;

/** When spending of an account could begin: with the period, or with the budget where that is younger. */
export function beginOf(budget: Pick<Budget, "starts_at" | "created_at">): number {
  const created = Date.parse(budget.created_at);
  return budget.starts_at === null ? created : Math.max(created, Date.parse(budget.starts_at));
}

/** Goes on in a straight line from the mean of the period so far; at least one hour is taken for past. */
export function project(budget: Pick<Budget, "starts_at" | "ends_at" | "created_at" | "spent" | "uncertain" | "amount">, now: number): Projection {
  const used = Number(budget.spent) + Number(budget.uncertain);
  const hours = Math.max((now - beginOf(budget)) / HOUR_MS, 1);
  const rate = used / hours;
  const end = budget.ends_at === null ? null : Date.parse(budget.ends_at);
  const left = Number(budget.amount) - used;
  const emptyAt = left <= 0 ? now : rate > 0 ? now + (left / rate) * HOUR_MS : null;
  return {
    rate,
    atEnd: end === null ? null : used + (rate * Math.max(end - now, 0)) / HOUR_MS,
    emptyAt: emptyAt !== null && (end === null || emptyAt < end) ? emptyAt : null,
  };
}

export type Nearness = "over" | "near" | "ahead" | "fine";
/** From this share a budget is near its end. */
export const NEAR_PERCENT = 80;

/** How near its end a budget is: `ahead` will be there before its period ends. */
export function nearness(budget: Parameters<typeof project>[0] & Pick<Budget, "used_percent">, now: number): Nearness {
  if (budget.used_percent >= 100) return "over";
  if (budget.used_percent >= NEAR_PERCENT) return "near";
  return project(budget, now).emptyAt !== null && budget.ends_at !== null ? "ahead" : "fine";
}

type Points = [at: number, left: number][];

/** What was left at the end of each hour, and what will be: two lines that meet now. */
export function burnDown(budget: Pick<Budget, "series" | "starts_at" | "ends_at" | "created_at" | "spent" | "uncertain" | "amount">, now: number, over: boolean): { left: Points; ahead: Points } {
  const amount = Number(budget.amount);
  const used = Number(budget.spent) + Number(budget.uncertain);
  // Of a period that is over only its hours are known.
  const first = budget.series[0];
  const begin = over && first !== undefined ? Date.parse(first.hour) : beginOf(budget);
  const left: Points = [[begin, amount]];
  for (const point of budget.series) {
    const at = Math.max(Math.min(Date.parse(point.hour) + HOUR_MS, now), begin);
    if (at < now || over) left.push([at, amount - Number(point.spent)]);
  }
  if (over) return { left, ahead: [] };
  left.push([now, amount - used]);
  const { rate, emptyAt } = project(budget, now);
  const end = budget.ends_at === null ? null : Date.parse(budget.ends_at);
  if (amount - used <= 0 || rate === 0) return { left, ahead: end === null ? [] : [[now, Math.max(amount - used, 0)], [end, Math.max(amount - used, 0)]] };
  const ahead: Points = [[now, amount - used]];
  if (emptyAt !== null) {
    ahead.push([emptyAt, 0]);
    if (end !== null) ahead.push([end, 0]);
  } else if (end !== null) ahead.push([end, amount - used - (rate * (end - now)) / HOUR_MS]);
  return { left, ahead };
}
