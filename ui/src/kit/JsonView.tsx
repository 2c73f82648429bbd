import { Button } from "@mantine/core";
import { json } from "@codemirror/lang-json";
import { defaultKeymap } from "@codemirror/commands";
import { codeFolding, foldGutter, foldKeymap, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { IconDownload } from "@tabler/icons-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { CopyButton } from "./Copy";
import { bytes } from "./format";

/** More than this is shown only when asked for: reading it takes the browser seconds. */
const BIG = 2_000_000;

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--t-accent-ink)" },
  { tag: tags.string, color: "var(--t-ink)" },
  { tag: [tags.number, tags.bool], color: "var(--t-warn)" },
  { tag: tags.null, color: "var(--t-ink-3)" },
]);
const look = EditorView.theme({
  "&": { fontSize: "12px", backgroundColor: "var(--t-sunken)", color: "var(--t-ink)", border: "1px solid var(--t-line)", borderRadius: "8px" },
  "&.cm-focused": { outline: "2px solid var(--t-accent)" },
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", lineHeight: "1.55", maxHeight: "70vh" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--t-ink-3)", border: "0" },
  ".cm-panels": { backgroundColor: "var(--t-panel)", color: "var(--t-ink)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--t-accent-line) !important" },
  ".cm-foldPlaceholder": { backgroundColor: "var(--t-hover)", border: "0", color: "var(--t-ink-2)" },
});

/** JSON to read, fold, search (mod+F) and take away. */
export default function JsonView({ value, name }: { value: unknown; name: string }) {
  const text = useMemo(() => JSON.stringify(value, null, 2), [value]);
  const [open, setOpen] = useState(false);
  const place = useRef<HTMLDivElement>(null);
  const shown = text.length <= BIG || open;
  useEffect(() => {
    if (!shown || place.current === null) return;
    const view = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: text,
        extensions: [
          EditorState.readOnly.of(true),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": "JSON" }),
          lineNumbers(),
          codeFolding(),
          foldGutter(),
          search({ top: true }),
          highlightSelectionMatches(),
          keymap.of([...searchKeymap, ...foldKeymap, ...defaultKeymap]),
          json(),
          syntaxHighlighting(colours),
          look,
        ],
      }),
    });
    return () => view.destroy();
  }, [text, shown]);

  return (
    <div>
      <div style={{ display: "flex", gap: 8, alignItems: "center", marginBottom: 8 }}>
        <span className="dim num">{bytes(text.length)}</span>
        <CopyButton value={text} what="JSON" />
        <Button variant="subtle" color="gray" size="compact-xs" leftSection={<IconDownload size={13} />} onClick={() => download(text, `${name}.json`)}>
          Download
        </Button>
        {!shown && (
          <Button variant="default" size="compact-xs" onClick={() => setOpen(true)}>
            Show it here all the same
          </Button>
        )}
      </div>
      {shown ? <div ref={place} /> : <p className="dim">This is large. Download it, or show it here and wait a moment.</p>}
    </div>
  );
}

function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
