import { Button, Checkbox, Drawer } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { approveTools, toolsQuery, withdrawTools, type Tool } from "@/api/tools";
import { asProblem } from "@/api/problem";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { ValueDiff } from "@/kit/Diff";
import { Failure } from "@/kit/Failure";
import forms from "@/kit/forms.module.css";
import { plural, shortDigest } from "@/kit/format";
import { Facts, Scroll } from "@/kit/Page";
import { Ago } from "@/kit/time";
import css from "./gateway.module.css";
import { descriptionOf, restOf, TOOL_STATES, toldTool, waits } from "./toolWords";

/** Changes what is approved of a server, and puts what the server answers in the place of what was known. */
function useApproval<T>(project: string, server: string, act: (given: T) => Promise<Tool[]>, done: (tools: Tool[]) => void) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: (tools) => {
      queries.setQueryData(toolsQuery(project, server).queryKey, tools);
      void queries.invalidateQueries({ queryKey: ["tool-servers", project] });
      done(tools);
    },
    // What was read is not what is there any more: the list is asked for again, for the one who reads it anew.
    onError: (error) => asProblem(error).status === 409 && void queries.invalidateQueries({ queryKey: ["tools", project, server] }),
  });
}

/** All that waits for approval, as it was when this was opened: what comes meanwhile is approved by nobody unread. */
export function ReviewDrawer({ project, server, tools, close }: { project: string; server: string; tools: Tool[]; close: () => void }) {
  const [read] = useState(() => tools.filter(waits));
  const [left, setLeft] = useState<readonly string[]>([]);
  const approve = useApproval(project, server, (chosen: Tool[]) => approveTools(project, server, chosen.map(({ name, digest }) => ({ name, digest }))), close);
  const chosen = read.filter((tool) => !left.includes(tool.name));
  const moved = read.some((tool) => tools.find((now) => now.name === tool.name)?.digest !== tool.digest);
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={`What waits for approval at ${server}`}>
      <div className={forms.form}>
        {read.length === 0 ? (
          <p className={css.note}>Nothing waits: every tool that it shows is as it was approved.</p>
        ) : (
          <p className={css.note}>Read what each says: a model is told it word for word. What is approved is pinned by its digest, and nothing else is.</p>
        )}
        {moved && <Moved />}
        {read.map((tool) => (
          <section key={tool.name} className={css.tool} aria-label={toldTool(tool.name)}>
            <div className={css.toolHead}>
              <Checkbox size="xs" aria-label={`Approve ${toldTool(tool.name)}`} checked={!left.includes(tool.name)} onChange={(event) => setLeft(event.currentTarget.checked ? left.filter((name) => name !== tool.name) : [...left, tool.name])} />
              <h3 className="mono">{toldTool(tool.name)}</h3>
              <StateOf tool={tool} />
              <span className="mono dim">{shortDigest(tool.digest)}</span>
            </div>
            <Definition tool={tool} />
          </section>
        ))}
        <Failure error={approve.error} />
        <div className={forms.buttons}>
          <Button variant="default" onClick={close}>
            Not now
          </Button>
          {read.length > 0 && (
            <Button loading={approve.isPending} disabled={chosen.length === 0 || moved} onClick={() => approve.mutate(chosen)}>
              Approve {plural(chosen.length, "definition")}
            </Button>
          )}
        </div>
      </div>
    </Drawer>
  );
}

/** One tool: what it says of itself, what was approved, and what to do about it. */
export function ToolDrawer({ project, server, tool, admin, close }: { project: string; server: string; tool: Tool; admin: boolean; close: () => void }) {
  const [read, setRead] = useState(tool);
  const approve = useApproval(project, server, ({ name, digest }: Tool) => approveTools(project, server, [{ name, digest }]), close);
  const withdraw = useApproval(project, server, ({ name }: Tool) => withdrawTools(project, server, [name]), close);
  const moved = read.digest !== tool.digest || read.approved_digest !== tool.approved_digest;
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={<span className="mono">{toldTool(tool.name)}</span>}>
      <div className={forms.form}>
        {moved && (
          <Moved>
            <Button variant="default" size="compact-xs" onClick={() => setRead(tool)}>
              Show what it is now
            </Button>
          </Moved>
        )}
        <Facts
          items={[
            ["State", <StateOf key="state" tool={read} />],
            ["Digest now", read.digest === "" ? "" : <Digest value={read.digest} what="digest of what it says now" />],
            ["Pinned digest", read.approved_digest === "" ? "" : <Digest value={read.approved_digest} what="pinned digest" />],
            [
              "Approved",
              read.approved_digest === "" ? (
                ""
              ) : (
                <>
                  <Ago at={read.approved_at} /> by <span className="mono">{read.approved_by}</span>
                </>
              ),
            ],
            ["Last seen", read.seen_at === null ? "" : <Ago at={read.seen_at} />],
          ]}
        />
        <section className={css.tool} aria-label={read.state === "changed" ? "What changed" : "Definition"}>
          <h3>{read.state === "changed" ? "What changed since the approval" : read.state === "gone" ? "What was approved" : "What a model is told"}</h3>
          <Definition tool={read} />
        </section>
        <Failure error={approve.error ?? withdraw.error} />
        <div className={forms.buttons}>
          <Button variant="default" onClick={close}>
            Close
          </Button>
          {admin && read.approved_digest !== "" && (
            <Button variant="default" loading={withdraw.isPending} onClick={() => withdraw.mutate(read)}>
              Withdraw the approval
            </Button>
          )}
          {admin && waits(read) && (
            <Button loading={approve.isPending} disabled={moved} onClick={() => approve.mutate(read)}>
              {read.state === "changed" ? "Approve the change" : "Approve"}
            </Button>
          )}
        </div>
      </div>
    </Drawer>
  );
}

function Moved({ children }: { children?: React.ReactNode }) {
  return (
    <p className={css.moved} role="status">
      It changed since you opened this; what you see here cannot be approved any more. {children ?? "Close this and read it again."}
    </p>
  );
}

function Digest({ value, what }: { value: string; what: string }) {
  return (
    <span className={css.chips}>
      <span className="mono" style={{ overflowWrap: "anywhere" }}>
        {value}
      </span>
      <CopyButton value={value} what={what} size="xs" />
    </span>
  );
}

export function StateOf({ tool }: { tool: Tool }) {
  const { word, tone, why } = TOOL_STATES[tool.state];
  return (
    <span className={css.states}>
      <Chip tone={tone} tip={why}>
        {word}
      </Chip>
      {!tool.allowed && <Chip tip="No pattern of the server's list lets it through">not allowed</Chip>}
    </span>
  );
}

/** A definition; where it changed, with its approved one: texts word by word, schemas line by line. */
function Definition({ tool }: { tool: Tool }) {
  const changed = tool.state === "changed";
  const shown = tool.definition ?? tool.approved;
  const [before, now] = [descriptionOf(tool.approved), descriptionOf(shown)];
  const rest = restOf(shown);
  const lines = useMemo(() => (changed ? linesOf(tool.diff) : []), [changed, tool.diff]);
  const name = toldTool(tool.name);
  if (shown === null) return <p className={css.note}>It was never approved, and is shown no more.</p>;
  return (
    <>
      {changed && before !== now ? (
        <div className={css.said}>
          <ValueDiff old={before} now={now} inOld={before !== ""} />
        </div>
      ) : (
        <p className={css.said}>{now || <span className="dim">It has no description.</span>}</p>
      )}
      {changed && restOf(tool.approved) !== rest ? (
        <Scroll label={`What changed of ${name}`} className={css.lines}>
          {lines.map(({ kind, text }, i) => (
            <span key={i} data-kind={kind}>
              {text}
            </span>
          ))}
        </Scroll>
      ) : (
        rest !== "" && (
          <Scroll label={`Schema of ${name}`} className={css.lines}>
            {rest}
          </Scroll>
        )
      )}
    </>
  );
}

/** The lines of a unified diff without its heads, each with what it says. */
function linesOf(diff: readonly string[]): { kind: "old" | "new" | "same" | "gap"; text: string }[] {
  return diff.slice(2).map((text) => ({ kind: text.startsWith("@@") ? "gap" : text.startsWith("+") ? "new" : text.startsWith("-") ? "old" : "same", text: text.startsWith("@@") ? "…" : text }));
}
