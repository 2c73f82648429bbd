import { Alert } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { IconBan } from "@tabler/icons-react";
import { revocationsQuery } from "@/api/revocations";
import { stalenessQuery, type StaleCause } from "@/api/staleness";
import { reasons } from "@/features/staleness/state";
import { Ago } from "@/kit/time";
import css from "./revocations.module.css";

/** Says that an artifact was revoked, or rests on what was revoked or erased, and why; nothing for one that is sound. */
export function BrokenBanner({ project, digest, name }: { project: string; digest: string; name: string }) {
  const revocations = useQuery({ ...revocationsQuery(project, digest), enabled: digest !== "" });
  const staleness = useQuery({ ...stalenessQuery(project, { artifact: digest }), enabled: digest !== "" });
  const own = revocations.data?.find((each) => each.stands);
  const item = staleness.data?.items[0];
  // What is said of the artifact itself stands above already, with who and when.
  const others = (each: StaleCause): boolean => own === undefined || each.digest !== digest;
  const causes = item?.state === "BROKEN" ? reasons({ causes: item.causes.filter(others), roots: item.roots.filter(others) }, "BROKEN") : [];
  if (own === undefined && causes.length === 0) return null;
  return (
    <Alert color="red" variant="light" icon={<IconBan size={17} />} title={own ? `${name} is revoked` : `${name} is broken: it rests on what was revoked or erased`} role="alert">
      {own && (
        <p className={css.text}>
          <Ago at={own.revoked_at} /> by {own.revoked_by}: {own.reason}
        </p>
      )}
      {causes.length > 0 && (
        <ul className={css.causes}>
          {causes.map((said) => (
            <li key={said}>{said}</li>
          ))}
        </ul>
      )}
      <p className={css.text}>No ref moves to it or to what contains it. Make a version without it, or let an admin take the revocation back.</p>
    </Alert>
  );
}
