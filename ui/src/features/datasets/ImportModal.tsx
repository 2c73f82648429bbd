import { Alert, Button, FileInput, Group, Modal, Progress, Select, Textarea, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { IconUpload } from "@tabler/icons-react";
import { useEffect, useId, useRef, useState } from "react";
import { FORMATS, importDataset, ROLES, type Dataset, type Format } from "@/api/datasets";
import { Failure } from "@/kit/Failure";
import { bytes, percent, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Scroll } from "@/kit/Page";
import css from "./datasets.module.css";
import { formatOf, lineErrors, nameOf, type LineError } from "./errorReport";

interface Props {
  project: string;
  /** Which dataset gets a version; a new one is asked for without it. */
  name?: string;
  role?: string;
  close: () => void;
  done: (name: string, made: Dataset) => void;
}

type Sending = { share: number } | null;

/** Brings a file in as the next version: how far it is, and what is wrong with which line. */
export function ImportModal({ project, name: fixed, role: before = "", close, done }: Props) {
  const queries = useQueryClient();
  const [file, setFile] = useState<File | null>(null);
  const [name, setName] = useState(fixed ?? "");
  const [format, setFormat] = useState<Format>("jsonl");
  const [key, setKey] = useState("");
  const [role, setRole] = useState(before);
  const [reason, setReason] = useState("");
  const [outcome, setOutcome] = useState("");
  const [sending, setSending] = useState<Sending>(null);
  const [error, setError] = useState<unknown>(null);
  const stop = useRef<AbortController | null>(null);
  const form = useId();
  useEffect(() => () => stop.current?.abort(), []);

  const choose = (chosen: File | null): void => {
    setFile(chosen);
    setError(null);
    if (chosen === null) return;
    setFormat(formatOf(chosen.name));
    if (fixed === undefined && name === "") setName(nameOf(chosen.name));
  };
  const send = async (): Promise<void> => {
    if (file === null || name === "" || sending !== null) return;
    setError(null);
    setSending({ share: 0 });
    stop.current = new AbortController();
    try {
      const made = await importDataset(
        project,
        name,
        file,
        { format, ...(key === "" ? {} : { key }), ...(role === "" ? {} : { role }), ...(reason === "" ? {} : { reason }), ...(outcome === "" ? {} : { expected_outcome: outcome }) },
        (share) => setSending({ share }),
        stop.current.signal,
      );
      await queries.invalidateQueries({ queryKey: ["datasets", project] });
      void queries.invalidateQueries({ queryKey: ["versions", project, "dataset"] });
      close();
      done(name, made);
    } catch (failure) {
      if (!(failure instanceof DOMException && failure.name === "AbortError")) setError(failure);
      setSending(null);
    }
  };
  const lines = error === null ? null : lineErrors(error);
  return (
    <Modal opened onClose={close} title={fixed === undefined ? "Import a dataset" : `Import the next version of ${fixed}`} size="lg" closeOnClickOutside={sending === null}>
      <form
        id={form}
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <FileInput data-autofocus label="File" description="JSON Lines, JSON, CSV or Parquet. All rows are checked before the first is kept." placeholder="Choose a file" value={file} onChange={choose} accept=".jsonl,.ndjson,.json,.csv,.tsv,.parquet" size="xs" required clearable disabled={sending !== null} />
        {fixed === undefined && <TextInput label="Name" description="Lower case letters, digits and hyphens; a name that is there gets its next version" value={name} onChange={(event) => setName(event.currentTarget.value)} required disabled={sending !== null} maxLength={63} />}
        <Group grow align="flex-start">
          <Select label="Format" data={[...FORMATS]} value={format} onChange={(value) => setFormat(value ?? "jsonl")} allowDeselect={false} disabled={sending !== null} />
          <TextInput label="Key field" description="Names rows over versions; their content does without it" placeholder="id" value={key} onChange={(event) => setKey(event.currentTarget.value)} maxLength={128} disabled={sending !== null} inputWrapperOrder={["label", "input", "description"]} />
          <Select label="Role" placeholder="none" data={Object.entries(ROLES).map(([value, what]) => ({ value, label: `${value}: ${what}` }))} value={role || null} onChange={(value) => setRole(value ?? "")} clearable disabled={sending !== null} />
        </Group>
        <Textarea label="Reason" description="Why there is a new version, for those who read the history" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={1} maxRows={4} maxLength={4000} size="xs" disabled={sending !== null} />
        <Textarea label="Expected outcome" value={outcome} onChange={(event) => setOutcome(event.currentTarget.value)} autosize minRows={1} maxRows={4} maxLength={4000} size="xs" disabled={sending !== null} />
        {lines ? <Report lines={lines} /> : <Failure error={error} />}
        {sending !== null && file !== null && <Sent share={sending.share} size={file.size} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            {sending === null ? "Cancel" : "Stop"}
          </Button>
          <Button type="submit" leftSection={<IconUpload size={14} />} loading={sending !== null} disabled={file === null || name === ""}>
            Import
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

function Sent({ share, size }: { share: number; size: number }) {
  const arrived = share >= 1;
  return (
    <div role="status" aria-live="polite">
      <Progress value={share * 100} animated={arrived} striped={arrived} aria-label="Sent" size="sm" />
      <p className={css.sent}>{arrived ? `All ${bytes(size)} have arrived; the rows are checked and kept …` : `${percent(share)} of ${bytes(size)} sent`}</p>
    </div>
  );
}

/** What is wrong with the file, line by line; nothing of it was kept. */
function Report({ lines }: { lines: LineError[] }) {
  return (
    <Alert color="red" variant="light" role="alert" title={`${plural(lines.length, "fault")} in the file; nothing was imported`}>
      <p className={css.sent}>Correct the lines and import the file again.</p>
      <Scroll label="Faults by line" className={css.report}>
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col" className={kit.right}>
                Line
              </th>
              <th scope="col">Field</th>
              <th scope="col">Reason</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((each, i) => (
              <tr key={i}>
                <td className={kit.right}>{each.line}</td>
                <td className="mono">{each.field === "" ? <span className="dim">whole row</span> : each.field}</td>
                <td>{each.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Alert>
  );
}
