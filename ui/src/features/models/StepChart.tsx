import { useComputedColorScheme } from "@mantine/core";
import { LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { numeral } from "./RunsPage";
import type { Line } from "./series";

register([LineChart, GridComponent, TooltipComponent, SVGRenderer]);

/** Values by step, a line for each run. */
export default function StepChart({ lines, label, height = 220 }: { lines: Line[]; label: string; height?: number }) {
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
          formatter: (points: { seriesIndex: number; value: [number, number | null] }[]) => tooltip(points, lines),
        },
        xAxis: { type: "value", min: "dataMin", max: "dataMax", minInterval: 1, axisLine: { lineStyle: { color: ink("--t-line") } }, axisTick: { show: false }, axisLabel: { ...text, hideOverlap: true }, splitLine: { show: false } },
        yAxis: { type: "value", scale: true, splitNumber: 4, axisLabel: { ...text, formatter: (value: number) => numeral(value) }, splitLine: { lineStyle: { color: ink("--t-line"), type: [3, 4] } } },
        series: lines.map((line) => ({ name: line.name, type: "line", data: line.points, color: line.ink, lineStyle: { width: 1.6 }, symbol: "circle", symbolSize: 5, showSymbol: line.points.length < 20, connectNulls: false })),
      },
      { notMerge: true },
    );
  }, [lines, scheme]);

  return <div ref={place} role="img" aria-label={label} style={{ height, width: "100%" }} />;
}

/** The tooltip as elements, never as markup: names come from outside. */
function tooltip(points: { seriesIndex: number; value: [number, number | null] }[], lines: Line[]): HTMLElement {
  const box = document.createElement("div");
  const head = document.createElement("div");
  head.textContent = `step ${points[0]?.value[0] ?? ""}`;
  head.style.cssText = "opacity:.7;margin-bottom:4px;font-size:11px";
  box.append(head);
  for (const point of points) {
    const line = lines[point.seriesIndex];
    if (line === undefined) continue;
    const row = document.createElement("div");
    row.style.cssText = "display:flex;gap:18px;justify-content:space-between;font-variant-numeric:tabular-nums";
    const name = document.createElement("span");
    const swatch = document.createElement("span");
    swatch.style.cssText = `display:inline-block;width:8px;height:8px;border-radius:2px;margin-right:7px;background:${line.ink}`;
    name.append(swatch, line.name);
    const value = document.createElement("strong");
    value.textContent = numeral(point.value[1]);
    row.append(name, value);
    box.append(row);
  }
  return box;
}
