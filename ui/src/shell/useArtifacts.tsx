import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { IconCpu, IconDatabase, IconMessage2Code, IconPackage } from "@tabler/icons-react";
import { useMemo, type ReactNode } from "react";
import { appsQuery, releaseQuery } from "@/api/apps";
import { datasetsQuery } from "@/api/datasets";
import { modelsQuery } from "@/api/models";
import { promptsQuery } from "@/api/prompts";
import { releasesQuery } from "@/api/releases";
import { shortDigest } from "@/kit/format";

/** As many of a kind as are offered: more letters find the others. */
const MOST = 8;

export interface Found {
  id: string;
  label: string;
  description: string;
  icon: ReactNode;
  open: () => void;
}

/** The digest that somebody pasted, with or without `sha256:`; null where the text is none. */
export function digestIn(text: string): string | null {
  const match = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(text.trim());
  return match?.[1] ? `sha256:${match[1].toLowerCase()}` : null;
}

/** Prompts, datasets, models and releases that a text names; none while it is empty. */
export function useArtifacts(project: string, asked: string): { group: string; found: Found[] }[] {
  const navigate = useNavigate();
  const enabled = asked !== "";
  const prompts = useInfiniteQuery({ ...promptsQuery(project, asked, "name"), enabled });
  const datasets = useInfiniteQuery({ ...datasetsQuery(project, { q: asked, sort: "name" }), enabled });
  const models = useInfiniteQuery({ ...modelsQuery(project, { q: asked, sort: "name" }), enabled });
  const apps = useQuery(appsQuery(project));
  // Releases go by the name of their app, or by their digest.
  const name = enabled ? (apps.data?.find((each) => each.name.includes(asked.toLowerCase().split("/")[0] ?? ""))?.name ?? "") : "";
  const releases = useInfiniteQuery(releasesQuery(project, name));
  const whole = useQuery({ ...releaseQuery(project, digestIn(asked) ?? ""), retry: false });
  return useMemo(() => {
    if (!enabled) return [];
    const release = (digest: string, label: string, description: string): Found => ({ id: digest, label, description, icon: <IconPackage size={16} />, open: () => void navigate({ to: "/p/$project/releases/$digest", params: { project, digest } }) });
    return [
      {
        group: "Prompts",
        found: (prompts.data?.pages[0]?.items ?? []).slice(0, MOST).map((each) => ({ id: each.version.name, label: each.version.name, description: `prompt ${each.version.semver}`, icon: <IconMessage2Code size={16} />, open: () => void navigate({ to: "/p/$project/prompts/$prompt", params: { project, prompt: each.version.name } }) })),
      },
      {
        group: "Datasets",
        found: (datasets.data?.pages[0]?.items ?? []).slice(0, MOST).map((each) => ({ id: each.name, label: each.name, description: `dataset ${each.semver}`, icon: <IconDatabase size={16} />, open: () => void navigate({ to: "/p/$project/datasets/$dataset", params: { project, dataset: each.name } }) })),
      },
      {
        group: "Models",
        found: (models.data?.pages[0]?.items ?? []).slice(0, MOST).map((each) => ({ id: each.name, label: each.name, description: `model ${each.semver}`, icon: <IconCpu size={16} />, open: () => void navigate({ to: "/p/$project/models/-/$", params: { project, _splat: each.name } }) })),
      },
      {
        group: "Releases",
        found: whole.data
          ? [release(whole.data.digest, `${whole.data.app} ${shortDigest(whole.data.digest)}`, `release ${whole.data.sequence}`)]
          : (releases.data?.pages[0]?.items ?? []).slice(0, MOST).map((each) => release(each.digest, `${name} ${shortDigest(each.digest)}`, [`release ${each.sequence}`, ...each.refs, each.reason].filter(Boolean).join(", "))),
      },
    ];
  }, [enabled, project, navigate, name, prompts.data, datasets.data, models.data, releases.data, whole.data]);
}
