import { Drawer } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { evidenceQuery, statementQuery, type Evidence } from "@/api/registry";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { shown } from "@/kit/Diff";
import kit from "@/kit/kit.module.css";
import { More } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { predicateName } from "./evidence";
import css from "./releases.module.css";

const JsonView = lazy(() => import("@/kit/JsonView"));

/** What was stated about a digest, signed: test results, approvals, verdicts of gates; whether each counts now. */
export function EvidencePanel({ project, digest }: { project: string; digest: string }) {
  const query = useInfiniteQuery(evidenceQuery(project, digest));
  const [open, setOpen] = useState<string | null>(null);
  const found = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Panel title="Evidence" note="signed statements about this digest, newest first; each verified now" flush>
      {query.data === undefined ? (
        query.isError ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : (
          <Loading />
        )
      ) : found.length === 0 ? (
        <EmptyState title="Nothing was stated about this release yet" more={<Command text={`tetrad evidence approve ${digest}`} />}>
          Test results, approvals and verdicts of gates are kept here, signed. They are never part of what the release is.
        </EmptyState>
      ) : (
        <>
          <Scroll label="Evidence">
            <table className={kit.table}>
              <thead>
                <tr>
                  <th scope="col">Statement</th>
                  <th scope="col">Says</th>
                  <th scope="col">Counts</th>
                  <th scope="col">Signed by</th>
                  <th scope="col">Received</th>
                  <th scope="col">Counts until</th>
                </tr>
              </thead>
              <tbody>
                {found.map((each) => (
                  <tr key={each.digest}>
                    <td>
                      <button type="button" className={css.open} onClick={() => setOpen(each.digest)}>
                        {predicateName(each.predicate_type)}
                      </button>
                    </td>
                    <td className={css.says}>{says(each)}</td>
                    <td>{each.counts ? <Chip tone="good">counts</Chip> : <Chip tone="bad" tip={each.problem}>{each.problem || "does not count"}</Chip>}</td>
                    <td>{each.key_name || <span className="dim">unknown key</span>}</td>
                    <td className={css.when}>
                      <Ago at={each.received_at} /> by {each.received_by}
                    </td>
                    <td className={css.when}>{each.revoked_at !== null ? "revoked" : each.expires_at === null ? <span className="dim">for good</span> : <Ago at={each.expires_at} />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
          <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older statements" />
        </>
      )}
      {open !== null && <Statement project={project} digest={open} close={() => setOpen(null)} />}
    </Panel>
  );
}

function says(evidence: Evidence): string {
  const { predicate } = evidence;
  for (const key of ["decision", "result", "verificationResult", "verdict", "passed"]) if (predicate[key] !== undefined) return `${shown(predicate[key])}${typeof predicate.comment === "string" && predicate.comment !== "" ? `: ${predicate.comment}` : ""}`;
  return Object.keys(predicate).slice(0, 4).join(", ");
}

function Statement({ project, digest, close }: { project: string; digest: string; close: () => void }) {
  const query = useQuery(statementQuery(project, digest));
  return (
    <Drawer opened onClose={close} position="right" size="lg" title="Statement" closeButtonProps={{ "aria-label": "Close the statement" }} overlayProps={{ backgroundOpacity: 0.15 }}>
      {query.data ? (
        <Suspense fallback={<Loading />}>
          <JsonView value={query.data} name={`statement-${digest.slice(7, 19)}`} />
        </Suspense>
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
      ) : (
        <Loading />
      )}
    </Drawer>
  );
}
