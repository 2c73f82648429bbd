import { useMemo } from "react";
import Plot, { type Ink } from "./Plot";

export interface ChartSeries {
  name: string;
  values: (number | null)[];
  ink: Ink;
  kind: "bar" | "line" | "area";
  stack?: string;
}

export interface ChartProps {
  /** Start of each bucket, milliseconds since the epoch. */
  times: number[];
  series: ChartSeries[];
  format: (value: number | null) => string;
  /** What the chart shows, for those who do not see it. */
  label: string;
  height?: number;
  /** The values are counts: half of one makes no sense. */
  whole?: boolean;
}

/** Series that share their buckets of time. */
export default function Chart({ times, series, ...rest }: ChartProps) {
  const lines = useMemo(() => series.map(({ values, ...line }) => ({ ...line, points: values.map((value, i): [number, number | null] => [times[i] ?? 0, value]) })), [times, series]);
  return <Plot lines={lines} axis="time" {...rest} />;
}
