import { Autocomplete, Button, NumberInput, Select, Textarea, TextInput } from "@mantine/core";
import { useSessionStorage } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { IconPlayerPlay, IconPlayerStop } from "@tabler/icons-react";
import { useState } from "react";
import { routedModelsQuery } from "@/api/gateway";
import { control, answer } from "@/api/http";
import type { PromptVariable } from "@/api/prompts";
import { Figures } from "@/features/playground/Figures";
import { isUnderWay, useRuns, type Run } from "@/features/playground/runs";
import { Panel } from "@/kit/Page";
import { Failure } from "@/kit/Failure";
import { inputsOfRow, NO_INPUTS, readValues, type Inputs } from "./inputs";
import css from "./prompts.module.css";
import type { Use } from "./uses";

/** One of the texts that are compared. */
export interface Contender {
  title: string;
  text: string;
}

/** Runs the prompt as it was and as it is now on the app's own model, side by side. */
export function Playground({ project, name, contenders, variables, uses, blocked }: { project: string; name: string; contenders: Contender[]; variables: readonly PromptVariable[]; uses: Use[]; blocked: string }) {
  const [inputs, setInputs] = useSessionStorage<Inputs>({ key: `tetrad.play.${project}.${name}`, defaultValue: NO_INPUTS, getInitialValueInEffect: false });
  const [chosen, setChosen] = useState<string | null>(null);
  const [most, setMost] = useState(160);
  const [asked, setAsked] = useState(false);
  const { runs, start, stop, clear, busy } = useRuns(project);
  const routed = useQuery(routedModelsQuery(project));
  const targets = [...uses.map((use) => `app:${use.app}@${use.ref}`), ...(routed.data ?? []).filter((model) => model.kinds.includes("chat")).map((model) => model.name)];
  const model = chosen ?? targets[0] ?? "";
  const use = uses.find((u) => `app:${u.app}@${u.ref}` === model);
  const read = readValues(variables, inputs.values);
  const wrong = Object.keys(read.problems).length > 0;
  const run = (): void => {
    setAsked(true);
    if (wrong || blocked !== "" || model === "") return;
    const messages = inputs.message.trim() === "" ? [] : [{ role: "user", content: inputs.message }];
    clear();
    start(contenders.map((each) => ({ id: each.title, body: { model, prompt: { name, text: each.text }, variables: read.values, messages, params: { max_tokens: most } } })));
  };
  return (
    <Panel title="Playground" note={use ? `${use.app}/${use.ref} answers${use.model === "" ? "" : ` with ${use.model}`}` : model !== "" ? `answered by ${model}` : undefined}>
      <div className={css.playgroundBox}>
        <form
          className={css.playground}
          onSubmit={(event) => {
            event.preventDefault();
            if (busy) stop();
            else run();
          }}
        >
          <div className={css.inputs}>
            <Autocomplete size="xs" label="Answer with" description="An app's ref brings its model, parameters and examples" data={[...new Set(targets)]} value={model} onChange={setChosen} required />
            <Rows project={project} variables={variables} use={(row) => setInputs(row)} />
            <Textarea size="xs" autosize minRows={2} maxRows={10} label="The user says" description="A message behind those of the prompt; may be empty" value={inputs.message} onChange={(event) => setInputs({ ...inputs, message: event.currentTarget.value })} />
            {variables.map((variable) => {
              const set = (value: string): void => setInputs({ ...inputs, values: { ...inputs.values, [variable.name]: value } });
              const standard = variable.required ? "" : typeof variable.default === "string" ? variable.default : JSON.stringify(variable.default);
              return (
                <Textarea
                  key={variable.name}
                  size="xs"
                  autosize
                  minRows={1}
                  maxRows={8}
                  label={variable.name}
                  description={[variable.type, variable.description].filter(Boolean).join(", ")}
                  placeholder={standard === "" ? "" : `${standard} (default)`}
                  required={variable.required}
                  withAsterisk={variable.required}
                  value={inputs.values[variable.name] ?? ""}
                  error={asked ? read.problems[variable.name] : undefined}
                  onChange={(event) => set(event.currentTarget.value)}
                />
              );
            })}
            <NumberInput size="xs" label="Tokens of the answer, at most" min={1} max={100_000} value={most} onChange={(value) => setMost(typeof value === "number" ? value : 160)} />
            <div className={css.run}>
              {busy ? (
                <Button type="submit" variant="default" leftSection={<IconPlayerStop size={14} />}>
                  Stop
                </Button>
              ) : (
                <Button type="submit" leftSection={<IconPlayerPlay size={14} />} disabled={blocked !== "" || model === ""}>
                  {contenders.length > 1 ? "Run both" : "Run"}
                </Button>
              )}
              {blocked !== "" && <p className={css.blocked}>{blocked}</p>}
            </div>
          </div>
          <div className={css.answers} data-two={contenders.length > 1}>
            {contenders.map((each) => (
              <Answer key={each.title} title={each.title} run={runs[each.title]} project={project} />
            ))}
          </div>
        </form>
      </div>
    </Panel>
  );
}

function Answer({ title, run, project }: { title: string; run: Run | undefined; project: string }) {
  return (
    <section className={css.answer} aria-label={`Answer: ${title}`}>
      <header>
        <h3>{title}</h3>
        {run?.state === "running" && <span className="dim">answering…</span>}
        {run?.state === "waiting" && <span className="dim">waiting for the first token…</span>}
        {run?.state === "stopped" && <span className="dim">stopped</span>}
      </header>
      {run === undefined ? (
        <p className="dim">Run it to see the answer here.</p>
      ) : (
        <>
          {run.problem && <Failure error={run.problem} />}
          <div className={css.said} aria-live="polite" aria-busy={isUnderWay(run) ? undefined : false}>
            {run.text.trimStart()}
          </div>
          {run.unused.length > 0 && <p className="dim">This prompt has no variable {run.unused.join(", ")}; what was given for it is left out.</p>}
          <Figures run={run} project={project} />
        </>
      )}
    </section>
  );
}

/** Fills the inputs from a row of a dataset. */
function Rows({ project, variables, use }: { project: string; variables: readonly PromptVariable[]; use: (inputs: Inputs) => void }) {
  const [dataset, setDataset] = useState<string | null>(null);
  const [search, setSearch] = useState("");
  const datasets = useQuery({
    queryKey: ["dataset-names", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets", { params: { path: { project }, query: { limit: 100 } }, signal }))).items,
    staleTime: 30_000,
  });
  const rows = useQuery({
    queryKey: ["example-rows", project, dataset, search],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets/{name}/rows", { params: { path: { project, name: dataset ?? "" }, query: { limit: 30, q: search } }, signal }))).items,
    enabled: dataset !== null,
  });
  if (datasets.data?.length === 0) return null;
  return (
    <div className={css.rows}>
      <Select size="xs" label="Example from a dataset" placeholder="Choose a dataset" clearable data={(datasets.data ?? []).map((d) => d.name)} value={dataset} onChange={setDataset} />
      {dataset !== null && (
        <>
          <TextInput size="xs" aria-label="Search rows" placeholder="Search rows" value={search} maxLength={200} onChange={(event) => setSearch(event.currentTarget.value)} />
          <ul aria-label="Rows">
            {(rows.data ?? []).map((row) => {
              const filled = inputsOfRow(row.value, variables);
              const text = filled.message || JSON.stringify(row.value);
              return (
                <li key={`${row.key}-${row.digest}`}>
                  <button type="button" className="cut" title={text} onClick={() => use(filled)}>
                    {text}
                  </button>
                </li>
              );
            })}
          </ul>
          {rows.data?.length === 0 && <p className="dim">No row holds that.</p>}
          <Failure error={rows.error} />
        </>
      )}
    </div>
  );
}
