import { Button, Modal } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Fragment, useState } from "react";
import { batchCostQuery, batchQuery, canCancel, cancelBatch, endedAt, isOpen, type BatchDetail } from "@/api/batches";
import { useMayAct } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Failure } from "@/kit/Failure";
import { compact, count } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import { BatchProgress } from "./BatchProgress";
import { batchCost, FILE_WORDS, modelsOf, sizeOf, stateOf, tookOf, wayOf } from "./batchWords";
import css from "./gateway.module.css";
import { useKeyNames, whoOf } from "./keyNames";

const SHOWN_ERRORS = 20;
const at = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** One batch: how far it is, what it cost, its files and errors; those who may can cancel it. */
export function BatchModal({ project, identity, close }: { project: string; identity: string; close: () => void }) {
  const query = useQuery(batchQuery(project, identity));
  const found = query.data;
  return (
    <Modal opened onClose={close} title="Batch" size="lg">
      {found === undefined ? (
        query.isError ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : (
          <Loading />
        )
      ) : (
        <div style={{ display: "grid", gap: 14, gridTemplateColumns: "minmax(0, 1fr)" }}>
          <BatchProgress batch={found} />
          <Facts project={project} batch={found} />
          <Errors batch={found} />
          <Files batch={found} />
          <Cancel project={project} batch={found} />
        </div>
      )}
    </Modal>
  );
}

function Facts({ project, batch }: { project: string; batch: BatchDetail }) {
  const now = useNow();
  const names = useKeyNames(project, [batch.key_id]);
  const { word, tone, tip } = stateOf(batch);
  const ended = endedAt(batch);
  return (
    <dl className={kit.facts}>
      <dt>Id</dt>
      <dd className="mono">
        {batch.id} <CopyButton value={batch.id} what="id" size="xs" />
      </dd>
      <dt>State</dt>
      <dd>
        <Chip tone={tone}>{word}</Chip> <span className="dim">{tip}</span>
      </dd>
      <dt>Calls</dt>
      <dd>{batch.endpoint}</dd>
      <dt>Models</dt>
      <dd className={batch.models.length === 0 ? "dim" : undefined}>{modelsOf(batch)}</dd>
      <dt>Key</dt>
      <dd title={batch.key_id}>{whoOf(batch.key_id, names)}</dd>
      <dt>Done</dt>
      <dd>{wayOf(batch)}</dd>
      {batch.provider_batch !== "" && (
        <>
          <dt>There</dt>
          <dd className="mono">
            {batch.provider_batch} <CopyButton value={batch.provider_batch} what="id" size="xs" />
          </dd>
        </>
      )}
      <dt>Made</dt>
      <dd>
        <Ago at={at(batch.created_at)} />
      </dd>
      {ended === null ? (
        <>
          <dt>Ends by</dt>
          <dd>
            <Ago at={at(batch.expires_at)} /> <span className="dim">window of {batch.window}</span>
          </dd>
        </>
      ) : (
        <>
          <dt>Ended</dt>
          <dd>
            <Ago at={new Date(ended).toISOString()} />
          </dd>
        </>
      )}
      <dt>{ended === null ? "Takes" : "Took"}</dt>
      <dd>{tookOf(batch, now)}</dd>
      <Cost project={project} batch={batch} />
      {Object.entries(batch.metadata ?? {}).map(([name, value]) => (
        <Fragment key={name}>
          <dt className="mono">{name}</dt>
          <dd>{value}</dd>
        </Fragment>
      ))}
    </dl>
  );
}

function Cost({ project, batch }: { project: string; batch: BatchDetail }) {
  const { data, isError } = useQuery({ ...batchCostQuery(project, batch), placeholderData: (old) => old, retry: false });
  return (
    <>
      <dt>Cost</dt>
      <dd>
        {data === undefined ? (
          <span className="dim">{isError ? "cannot be told now" : "…"}</span>
        ) : (
          <>
            {batchCost(data, batch)}
            {data.calls > 0 && (
              <span className="dim">
                {" "}
                {compact(data.input_tokens)} tokens in, {compact(data.output_tokens)} out
              </span>
            )}
          </>
        )}
      </dd>
    </>
  );
}

function Errors({ batch: { errors } }: { batch: BatchDetail }) {
  if (errors.length === 0) return null;
  return (
    <section aria-label="Errors of the batch">
      <h3 className={css.small}>Errors</h3>
      <ul className={css.faults}>
        {errors.slice(0, SHOWN_ERRORS).map((error, i) => (
          <li key={i}>
            {error.line !== null && <span className="num dim">line {count(error.line)}: </span>}
            {error.message} <span className="mono dim">{error.code}</span>
          </li>
        ))}
      </ul>
      {errors.length > SHOWN_ERRORS && <p className={css.note}>and {count(errors.length - SHOWN_ERRORS)} more</p>}
    </section>
  );
}

function Files({ batch: { files } }: { batch: BatchDetail }) {
  if (files.length === 0) return null;
  return (
    <Scroll label="Files of the batch">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">File</th>
            <th scope="col">Name</th>
            <th scope="col" className={kit.right}>
              Size
            </th>
            <th scope="col">Kept until</th>
          </tr>
        </thead>
        <tbody>
          {files.map((file) => (
            <tr key={file.id}>
              <td>{FILE_WORDS[file.role]}</td>
              <td className={css.text} title={file.id}>
                {file.name ?? <span className="mono dim">{file.id}</span>} <CopyButton value={file.id} what="id" size="xs" />
              </td>
              <td className={`${kit.right} ${css.when}`}>{sizeOf(file)}</td>
              <td className={css.when}>{file.expires_at === null ? <span className="dim">{file.name === null ? "–" : "deleted"}</span> : <Ago at={at(file.expires_at)} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Cancel({ project, batch }: { project: string; batch: BatchDetail }) {
  const queries = useQueryClient();
  const [sure, setSure] = useState(false);
  const cancel = useMutation({
    mutationFn: () => cancelBatch(project, batch.id),
    onSuccess: (changed) => {
      setSure(false);
      queries.setQueryData(batchQuery(project, batch.id).queryKey, changed);
      void queries.invalidateQueries({ queryKey: ["batches", project, "all"] });
    },
    // it ended meanwhile: what it is now says why
    onError: () => void queries.invalidateQueries({ queryKey: batchQuery(project, batch.id).queryKey }),
  });
  const may = useMayAct() && canCancel(batch);
  const what = batch.way === "native" ? "Its provider is told to stop; what it has done by then is billed." : "Calls under way end and cost what they cost, and no more are begun.";
  return (
    <>
      <Failure error={cancel.error} />
      {may && (
        <div style={{ display: "flex", justifyContent: "flex-end", alignItems: "center", gap: 8, flexWrap: "wrap" }}>
          {sure && <span style={{ flex: 1, minWidth: 200 }}>{what} Answers so far are kept. This cannot be undone.</span>}
          {sure && (
            <Button variant="default" onClick={() => setSure(false)} data-autofocus>
              Keep it
            </Button>
          )}
          <Button color="red" variant={sure ? "filled" : "light"} loading={cancel.isPending} onClick={() => (sure ? cancel.mutate() : setSure(true))}>
            {sure ? "Cancel it now" : "Cancel batch…"}
          </Button>
        </div>
      )}
      {isOpen(batch) && !canCancel(batch) && <p className={css.note}>{batch.status === "cancelling" ? "It is being cancelled, which may take as long as its last calls." : "It ends by itself in a moment."}</p>}
    </>
  );
}
