import { useEffect, useState } from "react";
import { ago, dayOf, fullTime } from "./format";

/** The present, told again every `every_ms`. */
export function useNow(every_ms = 10_000): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every_ms);
    return () => clearInterval(timer);
  }, [every_ms]);
  return now;
}

/** The day that something began on; the whole time on hover. */
export function Day({ at }: { at: string }) {
  const ms = Date.parse(at);
  return (
    <time dateTime={at} title={fullTime(ms)}>
      {dayOf(ms)}
    </time>
  );
}

/** How long ago; the whole time on hover. */
export function Ago({ at }: { at: string | null }) {
  const now = useNow();
  if (at === null || at === "") return <span className="dim">never</span>;
  const ms = Date.parse(at);
  return (
    <time dateTime={at} title={fullTime(ms)}>
      {ago(ms, now)}
    </time>
  );
}
