import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export const WINDOWS = ["15m", "1h", "24h", "7d"] as const;
export type Overview = Schemas["OverviewOut"];
export type Window = Overview["window"];
export type Stats = Schemas["MeasuresOut"];
export type Top = Schemas["TopOut"];

export const overviewQuery = (project: string, window: Window) =>
  queryOptions({
    queryKey: ["overview", project, window],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/overview", { params: { path: { project }, query: { window } }, signal })),
    refetchInterval: window === "15m" ? 5_000 : 15_000,
  });
