import { Link } from "@tanstack/react-router";
import type { Label } from "@/api/registry";
import { shortDigest } from "@/kit/format";
import css from "./lineage.module.css";

/** What an artifact is called: its name and version, or the head of its digest. */
export function nameOf(digest: string, label: Label | undefined): string {
  if (label === undefined || label.name === "") return shortDigest(digest, 12);
  return label.kind === "release" ? `${label.name} ${shortDigest(digest)}` : `${label.name}@${label.semver}`;
}

/** Leads to the page of an artifact; one without a page of its own leads to what is around it. */
export function ArtifactLink({ project, digest, label, children }: { project: string; digest: string; label: Label | undefined; children?: React.ReactNode }) {
  const text = children ?? nameOf(digest, label);
  const look = { className: css.artifact, title: digest };
  if (label?.erased) return <span {...look}>{text} (erased)</span>;
  if (label?.kind === "dataset" && label.name !== "")
    return (
      <Link to="/p/$project/datasets/$dataset" params={{ project, dataset: label.name }} search={{ version: label.semver }} {...look}>
        {text}
      </Link>
    );
  if (label?.kind === "model" && label.name !== "")
    return (
      <Link to="/p/$project/models/-/$" params={{ project, _splat: label.name }} search={{ version: label.semver }} {...look}>
        {text}
      </Link>
    );
  if (label?.kind === "release")
    return (
      <Link to="/p/$project/releases/$digest" params={{ project, digest }} {...look}>
        {text}
      </Link>
    );
  return (
    <Link to="/p/$project/lineage/$digest" params={{ project, digest }} {...look}>
      {text}
    </Link>
  );
}
