import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { CodeDiff, DataDiff, ModelDiff, PromptDiff, ReleaseDiff } from "@/api/releases";
import { gist, shortKey } from "@/features/datasets/cell";
import { Chip } from "@/kit/Chips";
import { ChangeTag, Counts, shown, ValueChanges } from "@/kit/Diff";
import { bytes, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { PartGlyph } from "@/kit/Mark";
import { Panel, Scroll } from "@/kit/Page";
import { EmptyState } from "@/kit/States";
import { Evaluations } from "./Evaluations";
import { PartPanel } from "./PartPanel";
import { PromptPart } from "./PromptPart";
import css from "./releases.module.css";

/** How a prompt that differs is shown; a review adds conversations to its lines. */
type PromptView = (part: PromptDiff, key: string) => ReactNode;

/**
 * What changed between two releases, part by part: prompts by message and word, data by row, the rest by value. `measured`
 * also says what was measured of both; a preview of a release that is not kept has nothing measured yet.
 */
export function ReleaseDiffView({ project, diff, prompt, measured = false }: { project: string; diff: ReleaseDiff; prompt?: PromptView; measured?: boolean }) {
  if (diff.same)
    return (
      <Panel label="Changes">
        <EmptyState title="Both are the same release">Their manifests are equal to the byte.</EmptyState>
      </Panel>
    );
  return (
    <div className={css.diff}>
      <Panel title="In short">
        <ul className={css.summary}>
          {diff.summary.map((line, i) => (
            <li key={i}>{line}</li>
          ))}
        </ul>
      </Panel>
      {measured && <Evaluations diff={diff} />}
      {diff.prompt.map((each) => {
        const key = `prompt-${each.role}-${name(each)}`;
        return prompt ? prompt(each, key) : <PromptPart key={key} project={project} part={each} />;
      })}
      {diff.model.map((each) => (
        <Model key={`model-${each.role}-${name(each)}`} project={project} diff={each} />
      ))}
      {diff.data.map((each) => (
        <Data key={`data-${each.role}-${name(each)}`} project={project} diff={each} />
      ))}
      {diff.code && <Code diff={diff.code} />}
      {diff.sampling.length > 0 && (
        <Panel title="Sampling">
          <ValueChanges changes={diff.sampling} />
        </Panel>
      )}
      {diff.config.length > 0 && (
        <Panel title="Configuration">
          <ValueChanges changes={diff.config} />
        </Panel>
      )}
    </div>
  );
}

function name(diff: { old: { name: string } | null; new: { name: string } | null }): string {
  return (diff.new ?? diff.old)?.name ?? "";
}

function Model({ project, diff }: { project: string; diff: ModelDiff }) {
  return (
    <PartPanel project={project} part="model" role={diff.role} change={diff.change} diff={diff}>
      <ValueChanges changes={diff.facts} />
    </PartPanel>
  );
}

function Data({ project, diff }: { project: string; diff: DataDiff }) {
  const { old, new: now } = diff;
  return (
    <PartPanel project={project} part="data" role={diff.role} change={diff.change} diff={diff} note={diff.compared ? <Counts added={diff.added} removed={diff.removed} changed={diff.changed} moved={diff.moved} /> : undefined}>
      {!diff.compared && <p className={css.quiet}>These are two large datasets with different names; their rows are not set side by side here.</p>}
      {diff.rows.map((row) => (
        <div key={row.key} className={css.row}>
          <div className={css.rowHead}>
            {diff.change === "changed" && <ChangeTag change={row.change} />}
            <span className="mono" title={row.key}>
              {shortKey(row.key)}
            </span>
          </div>
          {row.fields.length > 0 ? <ValueChanges changes={row.fields} /> : row.content !== null && row.content !== undefined && <p className={css.content}>{typeof row.content === "object" ? gist(row.content as Record<string, unknown>) : shown(row.content)}</p>}
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
    </PartPanel>
  );
}

function Code({ diff }: { diff: CodeDiff }) {
  const side = (each: CodeDiff["old"]): string => (each.commit === "" ? shortDigest(each.tree, 12) : each.commit.slice(0, 12)) + (each.dirty ? " and uncommitted changes" : "");
  return (
    <Panel
      label="Code"
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
      <ValueChanges changes={diff.runtime} title="Runtime" />
    </Panel>
  );
}
