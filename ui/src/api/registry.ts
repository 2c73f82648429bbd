import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Version = Schemas["VersionView"];
export type Activity = Schemas["ActivityView"];

/** What an artifact is called: its kind, and its newest name, empty without one. */
export interface Label {
  digest: string;
  kind: string;
  name: string;
  semver: string;
  erased: boolean;
}

/** The activities around an artifact, and what the artifacts that they name are called. */
export interface Lineage {
  root: string;
  complete: boolean;
  activities: Activity[];
  artifacts: Label[];
}
export type Evidence = Schemas["EvidenceListed"];
export type GateCheck = Schemas["GateCheckView"];
export type Direction = "upstream" | "downstream";

/** As many names or versions as a picker offers; beyond, the field is typed. */
const MOST = 200;

/** The newest version of each name of a kind, or the versions of a name. */
export const versionsQuery = (project: string, kind: string, name?: string) =>
  queryOptions({
    queryKey: ["versions", project, kind, name ?? ""],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/versions", { params: { path: { project }, query: { kind, limit: MOST, ...(name === undefined ? {} : { name }) } }, signal }))).items,
  });

export const lineageQuery = (project: string, digest: string, direction: Direction, depth: number) =>
  queryOptions({
    queryKey: ["lineage", project, digest, direction, depth],
    queryFn: async ({ signal }): Promise<Lineage> => {
      const { nodes, ...walk } = await answer(control.GET("/api/v1/projects/{project}/artifacts/{digest}/lineage", { params: { path: { project, digest }, query: { direction, depth } }, signal }));
      return { ...walk, artifacts: nodes.map(readLabel) };
    },
    enabled: depth > 0 && digest !== "",
  });

/** One artifact may have several names; its newest one of its own kind says most. */
export function readLabel(node: Schemas["LineageNodeView"]): Label {
  const name = node.names.find((each) => each.kind === node.kind) ?? node.names[0];
  return { digest: node.digest, kind: name?.kind ?? node.kind, name: name?.name ?? "", semver: name?.semver ?? "", erased: node.erased };
}

export const evidenceQuery = (project: string, subject: string) =>
  infiniteQueryOptions({
    queryKey: ["evidence", project, subject],
    queryFn: ({ pageParam, signal }) => answer(control.GET("/api/v1/projects/{project}/evidence", { params: { path: { project }, query: { subject, limit: 50, ...(pageParam === "" ? {} : { cursor: pageParam }) } }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const statementQuery = (project: string, digest: string) =>
  queryOptions({
    queryKey: ["statement", project, digest],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/evidence/{digest}", { params: { path: { project, digest } }, signal })),
  });

/** What the gates of a ref would answer to a move now; nothing moves. */
export const gateCheckQuery = (project: string, ref: string, digest: string) =>
  queryOptions({
    queryKey: ["gate-check", project, ref, digest],
    queryFn: ({ signal }) => answer(control.GET("/api/v1/projects/{project}/gates/check", { params: { path: { project }, query: { ref, digest } }, signal })),
    enabled: ref !== "" && digest !== "",
  });
