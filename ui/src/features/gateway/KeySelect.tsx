import { Select, type SelectProps } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { keyChoicesQuery } from "@/api/keys";
import { useKeyNames } from "./keyNames";

const WAIT_MS = 250;

interface Choice {
  value: string;
  label: string;
}

/** Chooses a key by a part of its name, how it ends, or its id; of any number of keys the server is asked for those that fit. */
export function KeySelect({ project, value, onChange, first = [], ...select }: Omit<SelectProps, "data" | "value" | "onChange"> & { project: string; value: string; onChange: (id: string) => void; first?: Choice[] }) {
  const [typed, setTyped] = useState("");
  const names = useKeyNames(project, [value]);
  const chosen = first.find((each) => each.value === value)?.label ?? names.get(value) ?? value;
  // What is chosen stands in the field: it is no search for itself.
  const [q] = useDebouncedValue(typed === chosen ? "" : typed.trim().slice(0, 100), WAIT_MS);
  const found = useQuery({ ...keyChoicesQuery(project, q), placeholderData: keepPreviousData });
  const fixed = first.filter((each) => each.label.toLowerCase().includes(q.toLowerCase()));
  const keys = (found.data ?? []).map((key): Choice => ({ value: key.id, label: key.name ? `${key.name} …${key.ending}` : key.id }));
  const listed = [...fixed, ...keys.filter((key) => key.value !== value)];
  const mine = value === "" || fixed.some((each) => each.value === value) ? [] : [{ value, label: chosen }];
  return (
    <Select
      {...select}
      data={[...mine, ...listed]}
      value={value || null}
      onChange={(next) => onChange(next ?? "")}
      searchable
      onSearchChange={setTyped}
      filter={({ options }) => options}
      nothingFoundMessage={found.isError ? "Keys cannot be listed" : found.isFetching ? "Looking…" : "No key is so"}
    />
  );
}
