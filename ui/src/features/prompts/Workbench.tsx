import { Alert, SegmentedControl } from "@mantine/core";
import { lazy, Suspense, useMemo } from "react";
import { asProblem } from "@/api/problem";
import type { Checked, PromptVariable } from "@/api/prompts";
import { Chip } from "@/kit/Chips";
import { Panel, Scroll } from "@/kit/Page";
import { Loading } from "@/kit/States";
import { placeOf, readFile } from "./file";
import { MessagesForm } from "./MessagesForm";
import { FloorNote, PromptDiff } from "./PromptDiff";
import css from "./prompts.module.css";

const FileEditor = lazy(() => import("./FileEditor"));

export type View = "messages" | "file" | "changes";

export interface Check {
  checked: Checked | undefined;
  error: unknown;
  /** The answer is about an earlier text. */
  late: boolean;
}

/** The prompt on the left, as messages or as its file; on the right what the change means. */
export function Workbench({ text, onChange, view, setView, check, variables, dirty }: { text: string; onChange: (text: string) => void; view: View; setView: (view: View) => void; check: Check; variables: readonly PromptVariable[]; dirty: boolean }) {
  const file = useMemo(() => readFile(text), [text]);
  const problem = check.error === null || check.error === undefined ? null : asProblem(check.error);
  const place = problem === null ? null : placeOf(problem.message);
  const shown: View = view === "messages" && file === null ? "file" : view === "changes" && !dirty ? (file === null ? "file" : "messages") : view;
  return (
    <div className={css.workbench}>
      <Panel
        label="Editor"
        title="Editor"
        side={
          <SegmentedControl
            aria-label="Edit as"
            value={shown}
            onChange={(value) => setView(value)}
            data={[
              { value: "messages", label: "Messages", disabled: file === null },
              { value: "file", label: "File" },
              { value: "changes", label: "Changes", disabled: !dirty },
            ]}
          />
        }
      >
        {shown === "messages" && file !== null && <MessagesForm file={file} onChange={onChange} problem={place} />}
        {shown === "file" && (
          <Suspense fallback={<Loading rows={10} />}>
            <FileEditor value={text} onChange={onChange} problem={place} label="Prompt file" />
          </Suspense>
        )}
        {shown === "changes" && (check.checked?.diff ? <PromptDiff diff={check.checked.diff} /> : <Loading rows={4} />)}
        {problem !== null && (
          <Alert color="red" variant="light" mt="sm" role="alert" title={place?.line != null ? `Line ${place.line}: ${place.words}` : problem.message}>
            {problem.hint}
          </Alert>
        )}
      </Panel>
      <div className={css.aside}>
        <Panel title="What this change means" note={check.late ? "checking…" : undefined}>
          {problem !== null ? (
            <p className="dim">Correct the fault first; then the next version's number is told here.</p>
          ) : !dirty ? (
            <p className="dim">Nothing is changed. Edit a message, run it below, and propose the change.</p>
          ) : check.checked ? (
            <>
              <FloorNote floor={check.checked.floor} least={check.checked.least} />
              {check.checked.warnings.map((warning) => (
                <Alert key={warning} color="yellow" variant="light" mt="sm">
                  {warning}
                </Alert>
              ))}
            </>
          ) : (
            <Loading rows={2} />
          )}
        </Panel>
        <Variables variables={variables} />
      </div>
    </div>
  );
}

export function Variables({ variables }: { variables: readonly PromptVariable[] }) {
  return (
    <Panel title="Variables" flush={variables.length > 0}>
      {variables.length === 0 ? (
        <p className="dim">None. Declare one in the file's head, and write {"{{its_name}}"} where its value goes.</p>
      ) : (
        <Scroll label="Variables of the prompt">
          <ul className={css.variables}>
            {variables.map((variable) => (
              <li key={variable.name}>
                <span className="mono">{`{{${variable.name}}}`}</span>
                <span className={css.variableFacts}>
                  <span className="dim">{variable.type}</span>
                  {variable.required ? <Chip tone="warn">required</Chip> : <span className="dim">default {JSON.stringify(variable.default)}</span>}
                </span>
                {variable.description !== "" && <span className={css.variableText}>{variable.description}</span>}
              </li>
            ))}
          </ul>
        </Scroll>
      )}
    </Panel>
  );
}
