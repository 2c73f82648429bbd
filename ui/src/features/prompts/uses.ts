import { useQueries, useQuery } from "@tanstack/react-query";
import { appsQuery, releaseQuery, type Release } from "@/api/apps";

/** An app's ref whose release pins a prompt, and the part that it is there. */
export interface Use {
  app: string;
  ref: string;
  role: string;
  version: string;
  digest: string;
  model: string;
}

/** So many releases are looked into; a project with more refs shows the first ones. */
const MOST = 40;

/** Where a prompt is used now, the default refs first. */
export function useUses(project: string, name: string): { uses: Use[]; pending: boolean } {
  const apps = useQuery(appsQuery(project));
  const refs = (apps.data ?? []).flatMap((app) => [...app.refs].sort((a, b) => Number(b.name === app.default_ref) - Number(a.name === app.default_ref)).map((ref) => ({ app: app.name, ref: ref.name, release: ref.digest }))).slice(0, MOST);
  const digests = [...new Set(refs.map((ref) => ref.release))];
  const releases = useQueries({ queries: digests.map((digest) => releaseQuery(project, digest)) });
  const byDigest = new Map(digests.map((digest, n) => [digest, releases[n]?.data]));
  return { uses: refs.flatMap((ref) => usesIn(ref.app, ref.ref, byDigest.get(ref.release), name)), pending: apps.isPending || releases.some((release) => release.isPending) };
}

function usesIn(app: string, ref: string, release: Release | undefined, name: string): Use[] {
  const part = release?.prompt.find((p) => p.name === name);
  if (release === undefined || part === undefined) return [];
  const model = release.model.find((m) => m.role === "primary") ?? release.model[0];
  return [{ app, ref, role: part.role, version: part.version, digest: part.digest, model: model?.name ?? "" }];
}
