import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type BindingListed = Schemas["BindingListed"];
export type Binding = Schemas["BindingView"];
export type BindingMove = Schemas["BindingMoveView"];

const MOST = 200;

export const bindingsQuery = (project: string) =>
  queryOptions({
    queryKey: ["bindings", project, "list"],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/bindings", { params: { path: { project }, query: { limit: MOST } }, signal }))).items,
  });

/** What binds an environment, or one app in it; `own` is what that very ref says, never what it follows. */
export const bindingQuery = (project: string, env: string, app: string, own = false) =>
  queryOptions({
    queryKey: ["bindings", project, "one", env, app, own],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/bindings/{env}", { params: { path: { project, env }, query: { app, own } }, signal })),
    enabled: env !== "",
  });

export const bindingHistoryQuery = (project: string, env: string, app: string) =>
  infiniteQueryOptions({
    queryKey: ["bindings", project, "history", env, app],
    queryFn: ({ pageParam, signal }) =>
      answer(control.GET("/api/v1/projects/{project}/bindings/{env}/history", { params: { path: { project, env }, query: { app, limit: 50, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** Whether every name of the binding in force resolves now. */
export const bindingCheckQuery = (project: string, env: string, app: string) =>
  queryOptions({
    queryKey: ["bindings", project, "check", env, app],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/bindings/{env}/check", { params: { path: { project, env }, query: { app } }, signal })),
  });

/** What changed between two bindings, each `ENV`, `ENV/APP`, `ENV@1.2.0` or a digest. */
export const bindingDiffQuery = (project: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["bindings", project, "diff", from, to],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/binding-diff", { params: { path: { project }, query: { from, to } }, signal })),
    enabled: from !== "" && to !== "",
  });

/** Puts an earlier binding in force again, if `expected` still is. */
export function rollBackBinding(project: string, env: string, app: string, body: { to: string; expected: string; reason: string }): Promise<Schemas["BindingBackView"]> {
  return answer(control.POST("/api/v1/projects/{project}/bindings/{env}/rollback", { params: { path: { project, env }, query: { app } }, body }));
}
