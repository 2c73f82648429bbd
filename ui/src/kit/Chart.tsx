import { useComputedColorScheme } from "@mantine/core";
import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { fullTime } from "./format";

register([BarChart, LineChart, GridComponent, TooltipComponent, SVGRenderer]);

export type Ink = "accent" | "accentSoft" | "neutral" | "bad";

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

const VARIABLE: Record<Ink, string> = { accent: "--t-accent", accentSoft: "--t-accent-line", neutral: "--t-ink-3", bad: "--t-bad" };

/** Values by time; colours come from the page, so that both themes hold. */
export default function Chart({ times, series, format, label, height = 180, whole = false }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const scheme = useComputedColorScheme("light");

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = init(element, null, { renderer: "svg" });
    chart.current = made;
    const observer = new ResizeObserver(() => made.resize());
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.dispose();
      chart.current = null;
    };
  }, []);

  useEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const ink = (name: string): string => style.getPropertyValue(name).trim();
    const text = { color: ink("--t-ink-3"), fontSize: 11, fontFamily: "Geist Variable, sans-serif" };
    chart.current?.setOption(
      {
        animation: false,
        grid: { left: 4, right: 8, top: 10, bottom: 2, containLabel: true },
        tooltip: {
          trigger: "axis",
          confine: true,
          backgroundColor: ink("--t-panel"),
          borderColor: ink("--t-line-strong"),
          padding: [8, 10],
          textStyle: { ...text, color: ink("--t-ink"), fontSize: 12 },
          axisPointer: { type: "line", lineStyle: { color: ink("--t-line-strong") } },
          formatter: (points: { dataIndex: number }[]) => tooltip(points[0]?.dataIndex ?? 0, times, series, format),
        },
        xAxis: {
          type: "time",
          axisLine: { lineStyle: { color: ink("--t-line") } },
          axisTick: { show: false },
          axisLabel: { ...text, hideOverlap: true },
          splitLine: { show: false },
        },
        yAxis: {
          type: "value",
          minInterval: whole ? 1 : undefined,
          splitNumber: 3,
          axisLabel: { ...text, formatter: (value: number) => format(value) },
          splitLine: { lineStyle: { color: ink("--t-line"), type: [3, 4] } },
        },
        series: series.map((s) => ({
          name: s.name,
          type: s.kind === "bar" ? "bar" : "line",
          data: s.values.map((value, i) => [times[i], value]),
          stack: s.stack,
          color: ink(VARIABLE[s.ink]),
          barCategoryGap: "22%",
          barMaxWidth: 18,
          itemStyle: { borderRadius: s.kind === "bar" ? 1.5 : 0 },
          lineStyle: { width: 1.6 },
          areaStyle: s.kind === "area" ? { opacity: 0.16 } : undefined,
          symbol: "circle",
          symbolSize: 4,
          // A lone point between gaps would vanish without its symbol.
          showSymbol: s.values.filter((v) => v !== null).length < 24,
          connectNulls: false,
        })),
      },
      { notMerge: true },
    );
  }, [times, series, format, scheme, whole]);

  return <div ref={place} role="img" aria-label={label} style={{ height, width: "100%" }} />;
}

/** The tooltip as elements, never as markup: names come from outside. */
function tooltip(index: number, times: number[], series: ChartSeries[], format: (value: number | null) => string): HTMLElement {
  const box = document.createElement("div");
  const head = document.createElement("div");
  head.textContent = fullTime(times[index] ?? Number.NaN);
  head.style.cssText = "opacity:.7;margin-bottom:4px;font-size:11px";
  box.append(head);
  for (const s of series) {
    const row = document.createElement("div");
    row.style.cssText = "display:flex;gap:18px;justify-content:space-between;font-variant-numeric:tabular-nums";
    const name = document.createElement("span");
    const swatch = document.createElement("span");
    swatch.style.cssText = `display:inline-block;width:8px;height:8px;border-radius:2px;margin-right:7px;background:var(${VARIABLE[s.ink]})`;
    name.append(swatch, s.name);
    const value = document.createElement("strong");
    value.textContent = format(s.values[index] ?? null);
    row.append(name, value);
    box.append(row);
  }
  return box;
}
