import { lazy, memo, Suspense, useMemo, useState } from "react";
import type { Span } from "@/api/traces";
import { CopyButton } from "@/kit/Copy";
import { count } from "@/kit/format";
import { Loading } from "@/kit/States";
import { plainText, readMessages, type Message, type Part } from "./messages";
import { inlines, textBlocks } from "./text";
import css from "./conversation.module.css";

const JsonView = lazy(() => import("@/kit/JsonView"));
/** A text beyond this is opened on demand, so that a book in a prompt does not freeze the page. */
const LONG = 12_000;
/** Of more messages than this the middle waits. */
const MANY = 60;

/** The call as a conversation: what the model was given, and what it answered. */
export function Conversation({ span }: { span: Span }) {
  const input = useMemo(() => readMessages(span.input, "input"), [span.input]);
  const output = useMemo(() => readMessages(span.output, "output"), [span.output]);
  if (empty(span.input) && empty(span.output))
    return <p className={css.none}>{span.status === "error" ? "No content: the call failed before there was any, or recording is off for its key." : "No content was recorded on this span. Spans of model calls carry it, unless the key that made the call turns recording off."}</p>;
  return (
    <div className={css.conversation}>
      <Side title="Input" messages={input} value={span.input} name={`${span.span_id}-input`} />
      <Side title="Output" messages={output} value={span.output} name={`${span.span_id}-output`} />
    </div>
  );
}

function empty(value: unknown): boolean {
  return value === null || value === undefined || value === "";
}

export function Side({ title, messages, value, name }: { title: string; messages: Message[] | null; value: unknown; name: string }) {
  const [all, setAll] = useState(false);
  if (empty(value)) return null;
  const cut = messages !== null && messages.length > MANY && !all;
  return (
    <section aria-label={title}>
      <header className={css.sideHead}>
        <h3>{title}</h3>
        {messages && messages.length > 1 && <span className="dim num">{count(messages.length)} messages</span>}
        <CopyButton value={messages ? plainText(messages) : JSON.stringify(value, null, 2)} what={title.toLowerCase()} size="xs" />
      </header>
      {messages === null ? (
        <Suspense fallback={<Loading rows={4} />}>
          <JsonView value={value} name={name} />
        </Suspense>
      ) : (
        <ol className={css.messages}>
          {(cut ? messages.slice(0, 10) : messages).map((message, i) => (
            <MessageView key={i} message={message} />
          ))}
          {cut && (
            <li>
              <button type="button" className={css.more} onClick={() => setAll(true)}>
                Show {count(messages.length - MANY)} more messages in between
              </button>
            </li>
          )}
          {cut && messages.slice(10 - MANY).map((message, i) => <MessageView key={`end-${i}`} message={message} />)}
        </ol>
      )}
    </section>
  );
}

const MessageView = memo(function MessageView({ message }: { message: Message }) {
  return (
    <li className={css.message} data-role={message.role}>
      <div className={css.role}>
        {message.label || message.role}
        {message.name !== "" && <span className="dim"> {message.name}</span>}
        {message.finish !== "" && <span className={css.finish}>{message.finish}</span>}
      </div>
      <div className={css.parts}>
        {message.parts.length === 0 && <span className="dim">empty</span>}
        {message.parts.map((part, i) => (
          <PartView key={i} part={part} />
        ))}
      </div>
    </li>
  );
});

function PartView({ part }: { part: Part }) {
  switch (part.kind) {
    case "text":
      return <LongText text={part.text} />;
    case "reasoning":
      return (
        <details className={css.reasoning}>
          <summary>Reasoning</summary>
          <LongText text={part.text} />
        </details>
      );
    case "call":
      return (
        <div className={css.call}>
          <div className={css.callName}>
            calls <strong className="mono">{part.name || "a tool"}</strong> {part.id !== "" && <span className="dim mono">{part.id}</span>}
          </div>
          {part.arguments !== "" && <pre>{part.arguments}</pre>}
        </div>
      );
    case "result":
      return (
        <div className={css.call}>
          <div className={css.callName}>result {part.id !== "" && <span className="dim mono">{part.id}</span>}</div>
          <LongText text={part.text} />
        </div>
      );
    case "media":
      return (
        <div className={css.media}>
          {part.label} <span className="mono dim">{part.source}</span>
        </div>
      );
    case "json":
      return <pre className={css.code}>{JSON.stringify(part.value, null, 2)}</pre>;
  }
}

function LongText({ text }: { text: string }) {
  const [open, setOpen] = useState(false);
  const long = text.length > LONG && !open;
  const blocks = useMemo(() => textBlocks(long ? text.slice(0, LONG) : text), [text, long]);
  return (
    <>
      {blocks.map((block, i) =>
        block.kind === "code" ? (
          <pre key={i} className={css.code}>
            {block.text}
          </pre>
        ) : (
          <p key={i} className={css.prose}>
            {inlines(block.text).map((piece, j) => (piece.kind === "code" ? <code key={j}>{piece.text}</code> : piece.kind === "strong" ? <strong key={j}>{piece.text}</strong> : piece.text))}
          </p>
        ),
      )}
      {long && (
        <button type="button" className={css.more} onClick={() => setOpen(true)}>
          Show all {count(text.length)} characters
        </button>
      )}
    </>
  );
}
