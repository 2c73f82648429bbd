import { Menu, TextInput } from "@mantine/core";
import { IconFilter, IconX } from "@tabler/icons-react";
import { useState, type Ref } from "react";
import { FIELDS, filterChips, formatQuery, parseQuery, withFilter, type Filters } from "./query";
import css from "./traces.module.css";

const HINTS: Record<(typeof FIELDS)[number], string> = {
  status: "ok or error",
  app: "an app's name",
  model: "a model's name",
  release: "a whole digest",
  binding: "a whole digest",
  session: "a session's id",
  user: "a user's id",
  name: "a word of the name",
};

/** Filters as text; nothing that is typed is dropped without a word. */
export function QueryBar({ filters, onChange, ref }: { filters: Filters; onChange: (filters: Filters) => void; ref: Ref<HTMLInputElement> }) {
  const written = formatQuery(filters);
  const [draft, setDraft] = useState(written);
  const [problems, setProblems] = useState<string[]>([]);
  // What the URL says replaces what was being written, as soon as it says something else.
  const [last, setLast] = useState(written);
  if (last !== written) {
    setLast(written);
    setDraft(written);
    setProblems([]);
  }

  const apply = (): void => {
    const parsed = parseQuery(draft);
    setProblems(parsed.problems);
    if (parsed.problems.length === 0) onChange(parsed.filters);
  };
  const chips = filterChips(filters);
  return (
    <div className={css.bar} role="search">
      <div className={css.barRow}>
        <TextInput
          ref={ref}
          className={css.barInput}
          aria-label="Filter traces"
          placeholder="Filter: status:error  app:assistant  model:…  latency>=2s  or words of the conversation"
          value={draft}
          error={problems.length > 0 ? problems.join(" ") : undefined}
          leftSection={<IconFilter size={14} />}
          rightSection={draft !== written ? <kbd className={css.enter}>Enter</kbd> : undefined}
          rightSectionWidth={52}
          onChange={(event) => setDraft(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") apply();
            if (event.key === "Escape") {
              setDraft(written);
              setProblems([]);
              event.currentTarget.blur();
            }
          }}
        />
        <Menu position="bottom-end">
          <Menu.Target>
            <button type="button" className={css.addFilter}>
              Add filter
            </button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item onClick={() => onChange(withFilter(filters, "status", "error"))}>Only errors</Menu.Item>
            <Menu.Item onClick={() => onChange(withFilter(filters, "min", 2000))}>Latency of 2 s and more</Menu.Item>
            <Menu.Divider />
            {FIELDS.filter((field) => filters[field] === undefined).map((field) => (
              <Menu.Item
                key={field}
                rightSection={<span className="dim">{HINTS[field]}</span>}
                onClick={() => {
                  setDraft(`${draft === "" ? "" : `${draft} `}${field}:`);
                  setTimeout(() => document.querySelector<HTMLInputElement>('[aria-label="Filter traces"]')?.focus(), 120);
                }}
              >
                {field}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </div>
      {chips.length > 0 && (
        <div className={css.chips} aria-label="Active filters">
          {chips.map((chip) => (
            <button key={chip.key} type="button" className={css.filterChip} onClick={() => onChange(withFilter(filters, chip.key, undefined))} aria-label={`Remove filter ${chip.label}`}>
              {chip.label}
              <IconX size={11} />
            </button>
          ))}
          <button type="button" className={css.textButton} onClick={() => onChange({})}>
            Clear all
          </button>
        </div>
      )}
    </div>
  );
}
