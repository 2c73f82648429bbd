import { Drawer } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import { rowQuery, type Row } from "@/api/datasets";
import { Side } from "@/features/traces/Conversation";
import { readMessages } from "@/features/traces/messages";
import { CopyButton } from "@/kit/Copy";
import { shown } from "@/kit/Diff";
import { Facts } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import css from "./datasets.module.css";

const JsonView = lazy(() => import("@/kit/JsonView"));

/** One row: its conversation where it is one, what is said of it beside it, its content as it is. */
export function RowDetail({ project, dataset, version, rowKey, loaded, close }: { project: string; dataset: string; version: string; rowKey: string; loaded: Row | undefined; close: () => void }) {
  const query = useQuery({ ...rowQuery(project, dataset, version, rowKey), enabled: loaded === undefined && version !== "" });
  const row = loaded ?? query.data;
  return (
    <Drawer opened onClose={close} position="right" size="lg" title={<span className={css.rowTitle}>{rowKey}</span>} closeButtonProps={{ "aria-label": "Close the row" }} overlayProps={{ backgroundOpacity: 0.15 }}>
      {row ? (
        <Whole row={row} />
      ) : row === null ? (
        <EmptyState title="This version has no row with that key">It may be in another version.</EmptyState>
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
      ) : (
        <Loading />
      )}
    </Drawer>
  );
}

function Whole({ row }: { row: Row }) {
  const messages = useMemo(() => (Array.isArray(row.value.messages) ? readMessages(row.value.messages, "input") : null), [row]);
  const sides = Object.entries(row.columns);
  return (
    <div className={css.detail}>
      <Facts
        items={[
          ["Key", <span key="k" className="mono">{row.key}</span>],
          [
            "Digest",
            <span key="d" className={css.digestLine}>
              <span className="mono cut" title={row.digest}>
                {row.digest}
              </span>
              <CopyButton value={row.digest} what="row digest" size="xs" />
            </span>,
          ],
        ]}
      />
      <section aria-label="Side columns">
        <h3>Beside the row</h3>
        {sides.length === 0 ? (
          <p className={css.none}>
            No scores or labels. <code>tetrad dataset score</code> adds them; the row and its digest stay as they are.
          </p>
        ) : (
          <Facts items={sides.map(([name, value]): [string, string] => [name, shown(value)])} />
        )}
      </section>
      {messages && <Side title="Conversation" messages={messages} value={row.value.messages} name={`row-${row.key}`} />}
      <section aria-label="Content">
        <h3>Content</h3>
        <Suspense fallback={<Loading rows={6} />}>
          <JsonView value={row.value} name={`row-${row.key}`} />
        </Suspense>
      </section>
    </div>
  );
}
