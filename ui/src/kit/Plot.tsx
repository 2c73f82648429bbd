import { useComputedColorScheme } from "@mantine/core";
import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { fullTime } from "./format";

register([BarChart, LineChart, GridComponent, TooltipComponent, SVGRenderer]);

export type Ink = "accent" | "accentSoft" | "neutral" | "bad";

/** One line, area or row of bars. A value that is null breaks it. */
export interface PlotLine {
  name: string;
  /** A tone of the theme, or a colour of its own. */
  ink: string;
  points: [x: number, value: number | null][];
  kind?: "bar" | "line" | "area";
  stack?: string | undefined;
  dashed?: boolean | undefined;
}

export interface PlotProps {
  lines: PlotLine[];
  /** Milliseconds since the epoch, or steps counted from 0. */
  axis: "time" | "step";
  format: (value: number | null) => string;
  /** What the plot shows, for those who do not see it. */
  label: string;
  height?: number;
  /** The values are counts: half of one makes no sense. */
  whole?: boolean;
  /** Show the range of the values and not their distance from 0. */
  zoomed?: boolean;
}

const VARIABLE: Record<Ink, string> = { accent: "--t-accent", accentSoft: "--t-accent-line", neutral: "--t-ink-3", bad: "--t-bad" };
const isInk = (ink: string): ink is Ink => Object.hasOwn(VARIABLE, ink);
/** Beyond so many points a line is drawn without a mark at each. */
const MARKED = 24;

/** Values by time or by step; colours come from the page, so that both themes hold. */
export default function Plot({ lines, axis, format, label, height = 180, whole = false, zoomed = false }: PlotProps) {
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
        grid: { left: 4, right: 12, top: 10, bottom: 2, containLabel: true },
        tooltip: {
          trigger: "axis",
          confine: true,
          backgroundColor: ink("--t-panel"),
          borderColor: ink("--t-line-strong"),
          padding: [8, 10],
          textStyle: { ...text, color: ink("--t-ink"), fontSize: 12 },
          axisPointer: { type: "line", lineStyle: { color: ink("--t-line-strong") } },
          formatter: (points: Pointed[]) => tooltip(points, lines, axis, format),
        },
        xAxis: {
          ...(axis === "time" ? { type: "time" } : { type: "value", min: "dataMin", max: "dataMax", minInterval: 1 }),
          axisLine: { lineStyle: { color: ink("--t-line") } },
          axisTick: { show: false },
          axisLabel: { ...text, hideOverlap: true },
          splitLine: { show: false },
        },
        yAxis: {
          type: "value",
          scale: zoomed,
          minInterval: whole ? 1 : undefined,
          splitNumber: 3,
          axisLabel: { ...text, formatter: (value: number) => format(value) },
          splitLine: { lineStyle: { color: ink("--t-line"), type: [3, 4] } },
        },
        series: lines.map((line) => ({
          name: line.name,
          type: line.kind === "bar" ? "bar" : "line",
          data: line.points,
          stack: line.stack,
          color: isInk(line.ink) ? ink(VARIABLE[line.ink]) : line.ink,
          barCategoryGap: "22%",
          barMaxWidth: 18,
          itemStyle: { borderRadius: line.kind === "bar" ? 1.5 : 0 },
          lineStyle: { width: 1.6, type: line.dashed ? "dashed" : "solid" },
          areaStyle: line.kind === "area" ? { opacity: 0.16 } : undefined,
          symbol: "circle",
          symbolSize: 4,
          // A lone point between gaps would vanish without its symbol.
          showSymbol: line.points.filter(([, value]) => value !== null).length < MARKED,
          connectNulls: false,
        })),
      },
      { notMerge: true },
    );
  }, [lines, axis, format, scheme, whole, zoomed]);

  return <div ref={place} role="img" aria-label={label} style={{ height, width: "100%" }} />;
}

interface Pointed {
  seriesIndex: number;
  value: [number, number | null];
}

/** The tooltip as elements, never as markup: names come from outside. */
function tooltip(points: Pointed[], lines: PlotLine[], axis: PlotProps["axis"], format: PlotProps["format"]): HTMLElement {
  const box = document.createElement("div");
  const head = document.createElement("div");
  const at = points[0]?.value[0] ?? Number.NaN;
  head.textContent = axis === "time" ? fullTime(at) : `step ${at}`;
  head.style.cssText = "opacity:.7;margin-bottom:4px;font-size:11px";
  box.append(head);
  for (const point of points) {
    const line = lines[point.seriesIndex];
    if (line === undefined) continue;
    const row = document.createElement("div");
    row.style.cssText = "display:flex;gap:18px;justify-content:space-between;font-variant-numeric:tabular-nums";
    const name = document.createElement("span");
    const swatch = document.createElement("span");
    swatch.style.cssText = `display:inline-block;width:8px;height:8px;border-radius:2px;margin-right:7px;background:${isInk(line.ink) ? `var(${VARIABLE[line.ink]})` : line.ink}`;
    name.append(swatch, line.name);
    const value = document.createElement("strong");
    value.textContent = format(point.value[1]);
    row.append(name, value);
    box.append(row);
  }
  return box;
}
