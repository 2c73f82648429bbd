import { queryOptions } from "@tanstack/react-query";
import { answer, control, everything, type Schemas } from "./http";

export type ToolServer = Schemas["ToolServerView"];
export type ToolServerBody = Schemas["ToolServerBody"];
export type ToolAccess = Schemas["ToolAccessBody"];
export type ToolServerRest = Schemas["ToolServerRestView"];
export type Tool = Schemas["ToolView"];

/** How often it is looked whether gateways saw a changed tool, or a server that does not answer. */
const LIVE_MS = 10_000;

const MOST = 200;
export const SERVER_SORTS = ["name", "-name", "url", "-url", "tools", "-tools", "rests", "-rests"] as const;
export type ServerSort = (typeof SERVER_SORTS)[number];

export const toolServersQuery = (project: string, q = "", sort: ServerSort = "name") =>
  queryOptions({
    queryKey: ["tool-servers", project, "list", q, sort],
    queryFn: ({ signal }) => everything((cursor) => answer(control.GET("/api/v1/projects/{project}/mcp-servers", { params: { path: { project }, query: { limit: MOST, sort, ...(q === "" ? {} : { q }), ...cursor } }, signal }))),
    refetchInterval: LIVE_MS,
  });

export const toolServerQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["tool-servers", project, "one", name],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/mcp-servers/{name}", { params: { path: { project, name } }, signal })),
    refetchInterval: LIVE_MS,
  });

export const toolsQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["tools", project, name],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/mcp-servers/{name}/tools", { params: { path: { project, name } }, signal }))).items,
    refetchInterval: LIVE_MS,
  });

/** What a server says when it is asked for its tools. Asked only when somebody wants it: it is a call of the server. */
export const toolListingQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ["tool-listing", project, name],
    queryFn: async ({ client }) => {
      const listing = await answer(control.POST("/api/v1/projects/{project}/mcp-servers/{name}/refresh", { params: { path: { project, name } } }));
      client.setQueryData(toolsQuery(project, name).queryKey, listing.tools);
      void client.invalidateQueries({ queryKey: ["tool-servers", project] });
      return listing;
    },
    staleTime: Infinity,
    retry: false,
  });

export function putToolServer(project: string, name: string, body: ToolServerBody): Promise<ToolServer> {
  return answer(control.PUT("/api/v1/projects/{project}/mcp-servers/{name}", { params: { path: { project, name } }, body }));
}

export function deleteToolServer(project: string, name: string): Promise<unknown> {
  return answer(control.DELETE("/api/v1/projects/{project}/mcp-servers/{name}", { params: { path: { project, name } } }));
}

/** Approves definitions by the digests that were read, all or none. */
export async function approveTools(project: string, name: string, tools: { name: string; digest: string }[]): Promise<Tool[]> {
  return (await answer(control.POST("/api/v1/projects/{project}/mcp-servers/{name}/approve", { params: { path: { project, name } }, body: { tools } }))).items;
}

export async function withdrawTools(project: string, name: string, tools: string[]): Promise<Tool[]> {
  return (await answer(control.POST("/api/v1/projects/{project}/mcp-servers/{name}/withdraw", { params: { path: { project, name } }, body: { tools } }))).items;
}
