import { lazy, Suspense, useState, type ReactNode } from "react";
import type { CodePart, DataPart, ModelPart, PromptPart, Release } from "@/api/apps";
import { PartName } from "@/features/releases/PartPanel";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { bytes, compact, count, plural, shortDigest } from "@/kit/format";
import { PartGlyph, type PartName as Quarter } from "@/kit/Mark";
import { Facts, Panel, Scroll } from "@/kit/Page";
import { Loading } from "@/kit/States";
import css from "./app.module.css";
import { templatePieces } from "./template";

const JsonView = lazy(() => import("@/kit/JsonView"));

/** The four parts of a release, each with what tells it from another. */
export function Parts({ project, release }: { project: string; release: Release }) {
  const [manifest, setManifest] = useState(false);
  return (
    <>
      <div className={css.parts}>
        <Part name="prompt" items={release.prompt} head={(p) => <PartName project={project} part="prompt" side={p} />}>
          {(prompt) => <Prompt prompt={prompt} examples={release.examples} />}
        </Part>
        <Part name="model" items={release.model} head={(m) => <PartName project={project} part="model" side={m} />}>
          {(model) => <Model model={model} params={release.params} />}
        </Part>
        <Part name="data" items={release.data} head={(d) => <PartName project={project} part="data" side={d} />}>
          {(data) => <Data data={data} />}
        </Part>
        <Part name="code" items={release.code} head={(c) => (c.commit === "" ? shortDigest(c.digest, 12) : c.commit.slice(0, 12))}>
          {(code) => <Code code={code} />}
        </Part>
      </div>
      <button type="button" className={css.manifest} aria-expanded={manifest} onClick={() => setManifest(!manifest)}>
        {manifest ? "Hide the manifest" : "Show the manifest whose digest names this release"}
      </button>
      {manifest && (
        <Suspense fallback={<Loading rows={6} />}>
          <JsonView value={release.manifest} name={`release-${shortDigest(release.digest)}`} />
        </Suspense>
      )}
    </>
  );
}

function Part<T extends { role: string; digest: string }>({ name, items, head, children }: { name: Quarter; items: T[]; head: (item: T) => ReactNode; children: (item: T) => ReactNode }) {
  return (
    <Panel
      label={name}
      title={
        <span className={css.partTitle}>
          <PartGlyph part={name} size={17} />
          {name.charAt(0).toUpperCase() + name.slice(1)}
        </span>
      }
      note={
        items.length === 0 ? undefined : (
          <span className={css.heads}>
            {items.map((item) => (
              <span key={`${item.role}-${item.digest}`}>{head(item)}</span>
            ))}
          </span>
        )
      }
    >
      {items.length === 0 && <p className="dim">This release pins no {name}.</p>}
      {items.map((item, i) => (
        <div key={`${item.role}-${item.digest}`} className={i > 0 ? css.next : undefined}>
          {children(item)}
          <div className={css.digest}>
            <span className="dim">digest</span>
            <span className="mono cut" title={item.digest}>
              {item.digest}
            </span>
            <CopyButton value={item.digest} what={`${name} digest`} size="xs" />
          </div>
        </div>
      ))}
    </Panel>
  );
}

function Prompt({ prompt, examples }: { prompt: PromptPart; examples: Release["examples"] }) {
  return (
    <>
      {prompt.messages.map((message, i) => (
        <div key={i} className={css.message}>
          <div className={css.role}>{message.role}</div>
          <div className={css.text}>
            {templatePieces(message.text).map((piece, j) => (piece.variable ? <mark key={j}>{piece.text}</mark> : piece.text))}
          </div>
        </div>
      ))}
      {examples.length > 0 && (
        <details className={css.examples}>
          <summary>{plural(examples.length, "message")} of examples follow, from the data</summary>
          {examples.map((message, i) => (
            <div key={i} className={css.message}>
              <div className={css.role}>{message.role}</div>
              <div className={css.text}>{message.text}</div>
            </div>
          ))}
        </details>
      )}
      {prompt.variables.length > 0 && (
        <Scroll label="Variables">
          <table className={css.small}>
            <thead>
              <tr>
                <th scope="col">Variable</th>
                <th scope="col">Type</th>
                <th scope="col">Default</th>
                <th scope="col">Meaning</th>
              </tr>
            </thead>
            <tbody>
              {prompt.variables.map((variable) => (
                <tr key={variable.name}>
                  <td className="mono">{variable.name}</td>
                  <td>{variable.type}</td>
                  <td className="mono">{variable.required ? <Chip tone="warn">required</Chip> : JSON.stringify(variable.default ?? "")}</td>
                  <td>{variable.description}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

function Model({ model, params }: { model: ModelPart; params: Record<string, unknown> }) {
  return (
    <Facts
      items={[
        ["Name", model.name],
        ["Version", model.version],
        ["Kind", model.kind],
        ["Size", model.size_bytes === null ? "" : bytes(model.size_bytes)],
        ["Quantisation", model.quantisation],
        ["Licence", model.licence],
        ["Architecture", model.architecture],
        ["Parameters", model.parameters > 0 ? compact(model.parameters) : ""],
        ["Context", model.context_length > 0 ? `${count(model.context_length)} tokens` : ""],
        ["Engine", model.engine],
        ["Provider", [model.provider, model.provider_model, model.snapshot].filter(Boolean).join(" / ")],
        ["Immutable", model.immutable ? "" : "no: the provider may change it"],
        ...Object.entries(params).map(([name, value]): [string, ReactNode] => [name, <span key={name} className="mono">{JSON.stringify(value)}</span>]),
      ]}
    />
  );
}

function Data({ data }: { data: DataPart }) {
  const columns = [...new Set(data.preview.flatMap((row) => Object.keys(row)))].slice(0, 6);
  return (
    <>
      <p className={css.line}>
        {data.role !== "" && <>Role {data.role}, </>}
        {plural(data.rows, "row")}
        {data.preview.length > 0 && data.preview.length < data.rows && <>, the first {count(data.preview.length)} shown</>}
      </p>
      {data.preview.length > 0 && (
        <Scroll label="First rows" className={css.preview}>
          <table className={css.small}>
            <thead>
              <tr>
                {columns.map((column) => (
                  <th key={column} scope="col">
                    {column}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {data.preview.map((row, i) => (
                <tr key={i}>
                  {columns.map((column) => (
                    <td key={column}>{cell(row[column])}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

function cell(value: unknown): string {
  const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

function Code({ code }: { code: CodePart }) {
  return (
    <>
      <p className={css.line}>
        {code.commit === "" ? "Not from a Git commit" : <span>Commit <span className="mono">{code.commit.slice(0, 12)}</span></span>}
        {code.dirty && <Chip tone="warn" tip="Files differed from the commit; the digest covers them as they were">uncommitted changes</Chip>}
        <span className="dim">{plural(code.file_count, "file")}, {bytes(code.size)}</span>
      </p>
      {code.files.length > 0 && (
        <Scroll label="Files" className={css.preview}>
          <table className={css.small}>
            <thead>
              <tr>
                <th scope="col">File</th>
                <th scope="col">Size</th>
                <th scope="col">Digest</th>
              </tr>
            </thead>
            <tbody>
              {code.files.map((file) => (
                <tr key={file.path}>
                  <td className="mono">{file.path}</td>
                  <td className="num">{bytes(file.size)}</td>
                  <td className="mono dim" title={file.digest}>
                    {shortDigest(file.digest)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}
