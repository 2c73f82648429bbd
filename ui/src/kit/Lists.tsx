import { Button, CloseButton, TextInput } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconSearch } from "@tabler/icons-react";
import { useEffect, useRef, useState, type ReactNode } from "react";
import css from "./lists.module.css";

const WAIT_MS = 250;

/** A text that a list is filtered by; told when the writer pauses, so that each letter does not ask the server. */
export function SearchBox({ value, onChange, label, placeholder, width = 240 }: { value: string; onChange: (text: string) => void; label: string; placeholder?: string; width?: number }) {
  const [text, setText] = useState(value);
  const [seen, setSeen] = useState(value);
  const timer = useRef(0);
  // The URL changed under us (back, a link): what it says counts.
  if (seen !== value) {
    setSeen(value);
    setText(value);
  }
  useEffect(() => () => clearTimeout(timer.current), []);
  const tell = (next: string): void => {
    setText(next);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => onChange(next.trim()), next === "" ? 0 : WAIT_MS);
  };
  return (
    <TextInput
      aria-label={label}
      placeholder={placeholder ?? label}
      value={text}
      onChange={(event) => tell(event.currentTarget.value)}
      leftSection={<IconSearch size={14} />}
      rightSection={text === "" ? undefined : <CloseButton size="xs" aria-label="Clear" onClick={() => tell("")} />}
      style={{ width, maxWidth: "100%" }}
    />
  );
}

/** The press of a column's head, with an arrow where the list is sorted by it. */
export function SortButton({ sorted, onClick, children }: { sorted: "asc" | "desc" | false; onClick: () => void; children: ReactNode }) {
  return (
    <button type="button" className={css.sort} onClick={onClick}>
      {children}
      {sorted === "asc" && <IconArrowUp size={12} aria-hidden="true" />}
      {sorted === "desc" && <IconArrowDown size={12} aria-hidden="true" />}
    </button>
  );
}

/** A column's head that sorts on the server: pressed again, it turns round. */
export function SortHead({ field, sort, onSort, first = "asc", children, right = false }: { field: string; sort: string; onSort: (sort: string) => void; first?: "asc" | "desc"; children: ReactNode; right?: boolean }) {
  const up = sort === field;
  const down = sort === `-${field}`;
  const next = up ? `-${field}` : down ? field : first === "asc" ? field : `-${field}`;
  return (
    <th scope="col" aria-sort={up ? "ascending" : down ? "descending" : "none"} style={right ? { textAlign: "right" } : undefined}>
      <SortButton sorted={up ? "asc" : down && "desc"} onClick={() => onSort(next)}>
        {children}
      </SortButton>
    </th>
  );
}

/** Asks for the next page as its button comes into sight, or when it is pressed. */
export function More({ has, busy, load, what = "more" }: { has: boolean; busy: boolean; load: () => void; what?: string }) {
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef(load);
  useEffect(() => {
    latest.current = load;
  });
  useEffect(() => {
    const element = place.current;
    if (!has || busy || element === null || typeof IntersectionObserver === "undefined") return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) latest.current();
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [has, busy]);
  if (!has) return null;
  return (
    <div ref={place} className={css.more}>
      <Button variant="default" size="compact-sm" loading={busy} onClick={load}>
        Load {what}
      </Button>
    </div>
  );
}
