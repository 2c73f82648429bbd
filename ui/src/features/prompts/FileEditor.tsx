import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, highlightActiveLine, keymap, lineNumbers, type DecorationSet } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";

interface Reading {
  front: "no" | "yes" | "done";
}

/** Prompt files: front matter, `# role` headings, and tags of templates. */
const language = StreamLanguage.define<Reading>({
  name: "prompt",
  startState: () => ({ front: "no" }),
  token(stream, state) {
    if (stream.sol()) {
      if (stream.match(/^---\s*$/)) {
        state.front = state.front === "no" ? "yes" : "done";
        return "meta";
      }
      if (state.front === "no") state.front = "done";
      if (state.front === "done" && stream.match(/^# (system|developer|user|assistant|placeholder)\s*$/)) return "heading";
      if (state.front === "yes" && stream.match(/^\s*[\w-]+(?=:)/)) return "propertyName";
    }
    if (state.front === "yes" && stream.match(/^#.*/)) return "comment";
    if (stream.match(/^\{\{[^}]*\}\}/) || stream.match(/^\{%[^%]*%\}/)) return "keyword";
    stream.next();
    return null;
  },
});
const colours = HighlightStyle.define([
  { tag: tags.heading, color: "var(--t-accent-ink)", fontWeight: "600" },
  { tag: tags.propertyName, color: "var(--t-accent-ink)" },
  { tag: tags.keyword, color: "var(--t-warn)" },
  { tag: [tags.meta, tags.comment], color: "var(--t-ink-3)" },
]);
const look = EditorView.theme({
  "&": { fontSize: "12.5px", backgroundColor: "var(--t-sunken)", color: "var(--t-ink)", border: "1px solid var(--t-line-strong)", borderRadius: "8px" },
  "&.cm-focused": { outline: "2px solid var(--t-accent)" },
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", lineHeight: "1.65", minHeight: "320px", maxHeight: "62vh" },
  ".cm-content": { caretColor: "var(--t-ink)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--t-ink)" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--t-ink-3)", border: "0" },
  ".cm-activeLine": { backgroundColor: "var(--t-hover)" },
  ".cm-panels": { backgroundColor: "var(--t-panel)", color: "var(--t-ink)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--t-accent-line) !important" },
  ".cm-wrong": { backgroundColor: "var(--t-bad-soft)", boxShadow: "inset 2px 0 0 var(--t-bad)" },
});

const setWrong = StateEffect.define<number | null>();
const wrong = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, change) {
    let found = marks.map(change.changes);
    for (const effect of change.effects)
      if (effect.is(setWrong)) {
        const line = effect.value;
        found = line === null || line < 1 || line > change.state.doc.lines ? Decoration.none : Decoration.set([Decoration.line({ class: "cm-wrong" }).range(change.state.doc.line(line).from)]);
      }
    return found;
  },
  provide: (field) => EditorView.decorations.from(field),
});

/** A prompt file to be edited as text; `problem` is the line that the product cannot read, and why. */
export default function FileEditor({ value, onChange, problem, label, readOnly = false }: { value: string; onChange: (value: string) => void; problem: { line: number | null; words: string } | null; label: string; readOnly?: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const latest = useRef(onChange);
  const first = useRef(value);
  useEffect(() => {
    latest.current = onChange;
    first.current = value;
  });
  useEffect(() => {
    if (place.current === null) return;
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: first.current,
        extensions: [
          EditorState.readOnly.of(readOnly),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "true" }),
          lineNumbers(),
          history(),
          highlightActiveLine(),
          search({ top: true }),
          highlightSelectionMatches(),
          // Tab moves on, as everywhere on the page: who works by keyboard must be able to leave.
          keymap.of([...searchKeymap, ...historyKeymap, ...defaultKeymap]),
          language,
          syntaxHighlighting(colours),
          look,
          wrong,
          EditorView.updateListener.of((update) => {
            if (update.docChanged) latest.current(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
  }, [label, readOnly]);
  useEffect(() => {
    const shown = view.current;
    if (shown !== null && shown.state.doc.toString() !== value) shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: value } });
  }, [value]);
  const line = problem?.line ?? null;
  useEffect(() => {
    view.current?.dispatch({ effects: setWrong.of(line) });
  }, [line, value]);
  return <div ref={place} />;
}
