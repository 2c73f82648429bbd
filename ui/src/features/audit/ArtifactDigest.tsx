import { Link } from "@tanstack/react-router";
import { shortDigest } from "@/kit/format";

/** Where a ref pointed: a ref of an app to a release; others (`models/NAME/best`) to what lineage knows of it. */
export function ArtifactDigest({ project, refName, digest }: { project: string; refName: string; digest: string }) {
  const look = { className: "link mono", title: digest, children: shortDigest(digest, 10) };
  return refName.split("/").length === 2 ? <Link to="/p/$project/releases/$digest" params={{ project, digest }} {...look} /> : <Link to="/p/$project/lineage/$digest" params={{ project, digest }} {...look} />;
}
