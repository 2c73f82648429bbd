import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Staleness = Schemas["StalenessView"];
export type Stale = Schemas["StaleView"];
export type StaleCause = Schemas["StaleCauseView"];
export type StaleState = Stale["state"];
export type StaleStep = Schemas["StaleStepView"];
export type StepDone = Schemas["StaleStepDoneView"];

/** The refs of an app, or one artifact by its digest. */
export type Subject = { app: string } | { artifact: string };

/** What is out of date, computed when it is asked for. */
export const stalenessQuery = (project: string, subject: Subject) =>
  queryOptions({
    queryKey: ["staleness", project, subject],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/staleness", { params: { path: { project }, query: subject }, signal })),
    staleTime: 30_000,
  });

/** Carries out steps for at most `seconds`; what is `left` is gone on with by the next call. */
export function runStaleness(project: string, subject: Subject, body: { reason: string; seconds: number; skip: string[] }): Promise<Schemas["StalenessRunView"]> {
  return answer(control.POST("/api/v1/projects/{project}/staleness/run", { params: { path: { project } }, body: { app: "", ref: "", artifact: "", expected_outcome: "", ...body, ...subject } }));
}
