/** Numbers as people read them: each result carries its unit, and an unknown value is an en dash, never 0. */

export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** `1234` → `1,234`. */
export function count(value: number | null | undefined): string {
  return value == null || !Number.isFinite(value) ? UNKNOWN : whole.format(value);
}

/** `12345` → `12.3k`: at most four characters and a suffix. */
export function compact(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  for (const [unit, scale] of [["B", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    // 999,950 and more would read `1000.0k`: it belongs to the next unit.
    if (size >= scale * (scale === 1e3 ? 1 : 0.99995)) return `${trim((value / scale).toFixed(size >= scale * 99.95 ? 0 : 1))}${unit}`;
  }
  return whole.format(value);
}

function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Milliseconds in the unit that reads best: `0.42 ms`, `87 ms`, `1.24 s`, `2 m 05 s`, `1 h 03 m`. */
export function duration(ms: number | null | undefined): string {
  if (ms == null || !Number.isFinite(ms)) return UNKNOWN;
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms === 0) return "0 ms";
  if (ms < 0.01) return `${trim((ms * 1000).toFixed(1))} µs`;
  if (ms < 10) return `${trim(ms.toFixed(2))} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${pad(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${pad(Math.floor((seconds % 3600) / 60))} m`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** A share of 1: `0.0123` → `1.23 %`. */
export function percent(share: number | null | undefined): string {
  if (share == null || !Number.isFinite(share)) return UNKNOWN;
  const value = share * 100;
  if (value === 0) return "0 %";
  if (value < 0.01) return "<0.01 %";
  return `${trim(value.toFixed(value < 10 ? 2 : 1))} %`;
}

function symbolOf(currency: string): string | undefined {
  return { USD: "$", EUR: "€", GBP: "£" }[currency];
}

/** A decimal text, exact where it is small: `0.00012345` USD → `$0.000123`. Null is an unknown price, not a free call. */
export function money(amount: string | null | undefined, currency = "USD"): string {
  if (amount == null || amount === "") return UNKNOWN;
  const value = Number(amount);
  if (!Number.isFinite(value)) return UNKNOWN;
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  const symbol = symbolOf(currency);
  let digits: string;
  if (size === 0) digits = "0.00";
  else if (size < 0.000001) return `<${symbol ?? ""}0.000001${symbol ? "" : ` ${currency}`}`;
  else if (size < 1) digits = size.toFixed(Math.min(6, Math.max(2, 2 - Math.floor(Math.log10(size)))));
  else digits = size.toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return symbol ? `${sign}${symbol}${digits}` : `${sign}${digits} ${currency}`;
}

/** A price to its last digit, as it counts: `0.0375` USD → `$0.0375`, `15` → `$15.00`. */
export function exactPrice(amount: string | null | undefined, currency = "USD"): string {
  if (amount == null || amount === "") return UNKNOWN;
  const [whole = "", part = ""] = amount.split(".");
  const digits = `${whole}.${part.padEnd(2, "0")}`;
  const symbol = symbolOf(currency);
  return symbol === undefined ? `${digits} ${currency}` : `${symbol}${digits}`;
}

/** Powers of 1024: `105 MiB`. */
export function bytes(size: number | null | undefined): string {
  if (size == null || !Number.isFinite(size)) return UNKNOWN;
  let value = size;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1023.5) return `${unit === "B" || value >= 99.5 ? value.toFixed(0) : trim(value.toFixed(1))} ${unit}`;
    value /= 1024;
  }
  return `${trim(value.toFixed(1))} TiB`;
}

/** `sha256:1f0c9a…` → `1f0c9a7b`: enough to tell releases apart by eye. */
export function shortDigest(digest: string, length = 8): string {
  return digest.replace(/^[a-z0-9]+:/, "").slice(0, length);
}

/** Nanoseconds in a text, as precise as they came, without losing digits to a float. */
export function nanosToMs(ns: string | number | bigint): number {
  const value = BigInt(ns);
  return Number(value / 1_000_000n) + Number(value % 1_000_000n) / 1e6;
}

/** The span between two nanosecond times in milliseconds, exact to the nanosecond. */
export function betweenMs(start: string | number, end: string | number): number {
  return Number(BigInt(end) - BigInt(start)) / 1e6;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** Local time of day today, with the day before that. */
export function timeOfDay(ms: number, now: number): string {
  return new Date(ms).toDateString() === new Date(now).toDateString() ? clock.format(ms) : dayClock.format(ms).replace(",", "");
}

/** The whole date with its zone, for tooltips. */
export function fullTime(ms: number): string {
  return Number.isFinite(ms) ? full.format(ms) : UNKNOWN;
}

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** The day: `30 Nov 2026`. */
export function dayOf(ms: number): string {
  return Number.isFinite(ms) ? day.format(ms) : UNKNOWN;
}

/** `just now`, `42 s ago`, `5 m ago`, `3 h ago`, `12 d ago`. */
export function ago(ms: number, now: number): string {
  const seconds = Math.round((now - ms) / 1000);
  if (!Number.isFinite(seconds)) return UNKNOWN;
  if (seconds < -5) return `in ${span(-seconds)}`;
  if (seconds < 5) return "just now";
  return `${span(seconds)} ago`;
}

function span(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `1 trace`, `2 traces`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

const MILLION: Record<string, string> = { audio_input: "sound in", audio_output: "sound out", image_input: "pictures in", image_output: "pictures out", reasoning: "thoughts" };
const EACH: Record<string, string> = { image: "an image", request: "a request", search_unit: "a search", second: "a second" };

/** What a model charges for besides tokens of text, to the last digit: `$0.04 an image, $15 a million characters`. */
export function unitPrices(units: Readonly<Record<string, string>> | undefined, currency = "USD"): string {
  return Object.entries(units ?? {})
    .map(([name, amount]) => `${symbolOf(currency) ?? ""}${amount}${symbolOf(currency) === undefined ? ` ${currency}` : ""} ${EACH[name] ?? (name === "character" ? "a million characters" : `a million tokens of ${MILLION[name] ?? name}`)}`)
    .join(", ");
}
