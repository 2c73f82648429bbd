import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { CodeDiff, DataDiff, Hunk, ModelDiff, PromptDiff, ReleaseDiff, ValueChange } from "@/api/releases";
import { gist, shortKey } from "@/features/datasets/cell";
import { Chip } from "@/kit/Chips";
import { ChangeTag, Counts, shown, ValueDiff, Words } from "@/kit/Diff";
import { bytes, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { PartGlyph, type PartName } from "@/kit/Mark";
import { Panel, Scroll } from "@/kit/Page";
import { EmptyState } from "@/kit/States";
import css from "./releases.module.css";

/** What changed between two releases, part by part: prompts by message and word, data by row, the rest by value. */
export function ReleaseDiffView({ project, diff }: { project: string; diff: ReleaseDiff }) {
  if (diff.same) return <EmptyState title="Both are the same release">Their manifests are equal to the byte.</EmptyState>;
  return (
    <div className={css.diff}>
      <Panel title="In short">
        <ul className={css.summary}>
          {diff.summary.map((line, i) => (
            <li key={i}>{line}</li>
          ))}
        </ul>
      </Panel>
      {diff.prompt.map((each) => (
        <Prompt key={`prompt-${each.role}-${name(each)}`} diff={each} />
      ))}
      {diff.model.map((each) => (
        <Model key={`model-${each.role}-${name(each)}`} diff={each} />
      ))}
      {diff.data.map((each) => (
        <Data key={`data-${each.role}-${name(each)}`} project={project} diff={each} />
      ))}
      {diff.code && <Code diff={diff.code} />}
      {diff.sampling.length > 0 && (
        <Panel title="Sampling">
          <Values changes={diff.sampling} />
        </Panel>
      )}
      {diff.config.length > 0 && (
        <Panel title="Configuration">
          <Values changes={diff.config} />
        </Panel>
      )}
    </div>
  );
}

interface Sided {
  old: { name: string; version: string; digest: string } | null;
  new: { name: string; version: string; digest: string } | null;
}

function name(diff: Sided): string {
  return (diff.new ?? diff.old)?.name ?? "";
}

function Part({ part, role, change, diff, note, children }: { part: PartName; role: string; change: string; diff: Sided; note?: ReactNode; children?: ReactNode }) {
  const side = (each: Sided["old"]): string => (each === null ? "" : `${each.name}${each.version === "" ? "" : `@${each.version}`}`);
  return (
    <Panel
      label={`${part} ${role}`}
      title={
        <span className={css.partTitle}>
          <PartGlyph part={part} size={16} />
          {part.charAt(0).toUpperCase() + part.slice(1)}, {role}
        </span>
      }
      note={
        <span className={css.partNote}>
          {change !== "changed" && <ChangeTag change={change} />}
          {diff.old && <span>{side(diff.old)}</span>}
          {diff.old && diff.new && <span aria-label="to">→</span>}
          {diff.new && <span>{side(diff.new)}</span>}
          {note}
        </span>
      }
    >
      {children}
    </Panel>
  );
}

function Prompt({ diff }: { diff: PromptDiff }) {
  return (
    <Part
      part="prompt"
      role={diff.role}
      change={diff.change}
      diff={diff}
      note={
        <>
          {diff.contract_changed && (
            <Chip tone="warn" tip={`The contract's change asks for a ${diff.floor} version`}>
              contract changes
            </Chip>
          )}
          {diff.verdict === "too-low" && <Chip tone="bad">version too low: {diff.floor} is asked</Chip>}
        </>
      }
    >
      {diff.messages.map((message, i) => (
        <div key={i} className={css.message}>
          <div className={css.messageHead}>
            <ChangeTag change={message.change} /> {message.role}
            {message.old_role !== "" && message.old_role !== message.role && <span className="dim">was {message.old_role}</span>}
            <span className="dim">message {message.new_place || message.old_place}</span>
          </div>
          {message.hunks.map((hunk, j) => (
            <HunkView key={j} hunk={hunk} />
          ))}
        </div>
      ))}
      <Values changes={diff.variables} title="Variables" />
      <Values changes={diff.params} title="Parameters of the prompt" />
      <Values changes={diff.other} title="Besides" />
      {diff.messages.length + diff.variables.length + diff.params.length + diff.other.length === 0 && <p className={css.quiet}>Its content is the same; it has another name or version.</p>}
    </Part>
  );
}

function HunkView({ hunk }: { hunk: Hunk }) {
  if (hunk.words.length > 0)
    return (
      <div className={css.hunk}>
        <span className={css.line}>{hunk.new_start || hunk.old_start}</span>
        <Words pieces={hunk.words} />
      </div>
    );
  return (
    <div className={css.lines}>
      {hunk.old.map((line, i) => (
        <div key={`o${i}`} data-kind="old">
          <span className={css.line}>{hunk.old_start + i}</span>
          <del>{line}</del>
        </div>
      ))}
      {hunk.new.map((line, i) => (
        <div key={`n${i}`} data-kind="new">
          <span className={css.line}>{hunk.new_start + i}</span>
          <ins>{line}</ins>
        </div>
      ))}
    </div>
  );
}

function Values({ changes, title }: { changes: ValueChange[]; title?: string }) {
  if (changes.length === 0) return null;
  return (
    <>
      {title !== undefined && <h3 className={css.sub}>{title}</h3>}
      <dl className={css.values}>
        {changes.map((change) => (
          <div key={change.path}>
            <dt className="mono">{change.path.replace(/^\//, "")}</dt>
            <dd>
              <ValueDiff old={change.old} now={change.new} inOld={change.change !== "added"} inNew={change.change !== "removed"} />
            </dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Model({ diff }: { diff: ModelDiff }) {
  return (
    <Part part="model" role={diff.role} change={diff.change} diff={diff}>
      <Values changes={diff.facts} />
    </Part>
  );
}

function Data({ project, diff }: { project: string; diff: DataDiff }) {
  const { old, new: now } = diff;
  return (
    <Part part="data" role={diff.role} change={diff.change} diff={diff} note={diff.compared ? <Counts added={diff.added} removed={diff.removed} changed={diff.changed} moved={diff.moved} /> : undefined}>
      {!diff.compared && <p className={css.quiet}>These are two large datasets with different names; their rows are not set side by side here.</p>}
      {diff.rows.map((row) => (
        <div key={row.key} className={css.row}>
          <div className={css.messageHead}>
            {diff.change === "changed" && <ChangeTag change={row.change} />}
            <span className="mono" title={row.key}>
              {shortKey(row.key)}
            </span>
          </div>
          {row.fields.length > 0 ? <Values changes={row.fields} /> : row.content !== null && row.content !== undefined && <p className={css.content}>{typeof row.content === "object" ? gist(row.content as Record<string, unknown>) : shown(row.content)}</p>}
        </div>
      ))}
      {diff.more && (
        <p className={css.quiet}>
          {old !== null && now !== null && old.name === now.name ? (
            <Link to="/p/$project/datasets/$dataset/diff" params={{ project, dataset: now.name }} search={{ from: old.version, to: now.version }} className="link">
              All rows that differ
            </Link>
          ) : (
            "More rows differ than are shown."
          )}
        </p>
      )}
    </Part>
  );
}

function Code({ diff }: { diff: CodeDiff }) {
  const side = (each: CodeDiff["old"]): string => (each.commit === "" ? shortDigest(each.tree, 12) : each.commit.slice(0, 12)) + (each.dirty ? " and uncommitted changes" : "");
  return (
    <Panel
      label="code"
      title={
        <span className={css.partTitle}>
          <PartGlyph part="code" size={16} />
          Code
        </span>
      }
      note={
        <span className={css.partNote}>
          <span className="mono">{side(diff.old)}</span> → <span className="mono">{side(diff.new)}</span>
          <span>{plural(diff.added + diff.removed + diff.changed, "file")}</span>
          {diff.lock_changed && <Chip tone="warn">dependencies change</Chip>}
        </span>
      }
    >
      <Scroll label="Files that differ">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">File</th>
              <th scope="col">Change</th>
              <th scope="col" className={kit.right}>
                Size
              </th>
            </tr>
          </thead>
          <tbody>
            {diff.files.map((file) => (
              <tr key={file.path}>
                <td className="mono">{file.path}</td>
                <td>
                  <ChangeTag change={file.change} />
                  {file.mode_only && <span className="dim"> only whether it can be run</span>}
                </td>
                <td className={kit.right}>{file.change === "added" ? bytes(file.new_size) : file.change === "removed" ? bytes(file.old_size) : `${bytes(file.old_size)} → ${bytes(file.new_size)}`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {diff.more && <p className={css.quiet}>More files differ than are shown.</p>}
      <Values changes={diff.runtime} title="Runtime" />
    </Panel>
  );
}
