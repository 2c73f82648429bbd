import { Autocomplete, Button, Modal, Select, Tabs, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { pushRow } from "@/api/datasets";
import { answer, control } from "@/api/http";
import { Command } from "@/kit/Copy";
import { Failure } from "@/kit/Failure";
import { newKey } from "@/kit/key";
import { callSnippets, readJson, rowOf } from "./calls";
import css from "./playground.module.css";

type Call = Parameters<typeof callSnippets>[0];

/** The last call as code, for one of those that answer. */
export function CodeModal({ targets, call, close }: { targets: string[]; call: (target: string) => Call; close: () => void }) {
  const [target, setTarget] = useState(targets[0] ?? "");
  const [label, setLabel] = useState("curl");
  const all = callSnippets(call(target));
  const chosen = all.find((each) => each.label === label) ?? all[0];
  return (
    <Modal opened onClose={close} title="This call as code" size="xl">
      <div className={css.form}>
        {targets.length > 1 && <Select label="Answered by" data={targets} value={target} onChange={(value) => value && setTarget(value)} allowDeselect={false} />}
        <Tabs value={label} onChange={(value) => setLabel(value ?? "curl")} variant="pills">
          <Tabs.List>
            {all.map((each) => (
              <Tabs.Tab key={each.label} value={each.label} py={4} px={10}>
                {each.label}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        </Tabs>
        {chosen && <Command text={chosen.text} what="code" />}
      </div>
    </Modal>
  );
}

/** Keeps what was asked as a row of a dataset; it may be put right before. */
export function RowModal({ project, call, close }: { project: string; call: Call; close: () => void }) {
  const [dataset, setDataset] = useState("");
  const [key, setKey] = useState("");
  const [text, setText] = useState(() => JSON.stringify(rowOf(call.messages, call.variables), null, 2));
  // One press is one row, however often it is sent.
  const [idempotency_key] = useState(newKey);
  const queries = useQueryClient();
  const datasets = useQuery({
    queryKey: ["dataset-names", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets", { params: { path: { project }, query: { limit: 100 } }, signal }))).items,
    staleTime: 30_000,
  });
  const names = (datasets.data ?? []).map((each) => each.name);
  const value = readJson(text);
  const row = typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  const name = dataset.trim();
  const save = useMutation({
    mutationFn: (kept: Record<string, unknown>) => pushRow(project, name, { idempotency_key, key: key.trim(), value: kept, reason: "from the playground" }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["datasets", project] });
      void queries.invalidateQueries({ queryKey: ["dataset-names", project] });
    },
  });
  return (
    <Modal opened onClose={close} title="Save as a row of a dataset" size="lg">
      {save.data ? (
        <div className={css.form}>
          <p role="status">
            The row is in{" "}
            <Link to="/p/$project/datasets/$dataset" params={{ project, dataset: name }} className="link">
              {name} {save.data.semver}
            </Link>
            .
          </p>
          <div className={css.buttons}>
            <Button onClick={close}>Close</Button>
          </div>
        </div>
      ) : (
        <form
          className={css.form}
          onSubmit={(event) => {
            event.preventDefault();
            if (row !== null && name !== "") save.mutate(row);
          }}
        >
          <Autocomplete size="xs" label="Dataset" description={name !== "" && datasets.data !== undefined && !names.includes(name) ? "A new one is made" : "One of the project, or a new one"} data={names} value={dataset} onChange={setDataset} required data-autofocus />
          <TextInput label="Key" description="Names the row for good; empty: one is made of its content" value={key} maxLength={256} onChange={(event) => setKey(event.currentTarget.value)} />
          <Textarea size="xs" label="Row" description="Put it right before it is kept" autosize minRows={6} maxRows={18} value={text} onChange={(event) => setText(event.currentTarget.value)} error={row === null ? "Not a JSON object" : undefined} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />
          <Failure error={save.error} />
          <div className={css.buttons}>
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button type="submit" loading={save.isPending} disabled={row === null || name === ""}>
              Save the row
            </Button>
          </div>
        </form>
      )}
    </Modal>
  );
}
