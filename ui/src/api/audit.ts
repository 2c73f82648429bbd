import { infiniteQueryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export interface AuditFilters {
  actor?: string | undefined;
  ref?: string | undefined;
  action?: string | undefined;
  target?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
}

const PAGE = 50;
const from = (cursor: string): { cursor?: string } => (cursor === "" ? {} : { cursor });

export const refLogQuery = (project: string, { actor, ref, since, until }: AuditFilters) =>
  infiniteQueryOptions({
    queryKey: ["ref-log", project, actor, ref, since, until],
    queryFn: ({ pageParam, signal }) =>
      answer(
        control.GET("/api/v1/projects/{project}/refs/log", {
          params: { path: { project }, query: { limit: PAGE, ...from(pageParam), ...(actor ? { actor } : {}), ...(ref ? { ref } : {}), ...(since ? { since } : {}), ...(until ? { until } : {}) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const auditQuery = (project: string, { actor, action, target, since, until }: AuditFilters) =>
  infiniteQueryOptions({
    queryKey: ["audit", project, actor, action, target, since, until],
    queryFn: ({ pageParam, signal }) =>
      answer(
        control.GET("/api/v1/projects/{project}/audit", {
          params: { path: { project }, query: { limit: PAGE, ...from(pageParam), ...(actor ? { actor } : {}), ...(action ? { action } : {}), ...(target ? { target } : {}), ...(since ? { since } : {}), ...(until ? { until } : {}) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export function checkRefLog(project: string): Promise<Schemas["LogCheckView"]> {
  return answer(control.GET("/api/v1/projects/{project}/refs/log/check", { params: { path: { project } } }));
}

export function checkAudit(project: string): Promise<Schemas["AuditCheckView"]> {
  return answer(control.GET("/api/v1/projects/{project}/audit/verification", { params: { path: { project } } }));
}

export function exportHead(project: string): Promise<Schemas["HeadBody"]> {
  return answer(control.GET("/api/v1/projects/{project}/refs/log/head", { params: { path: { project } } }));
}
