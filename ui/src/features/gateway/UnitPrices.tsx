import { MultiSelect, TextInput } from "@mantine/core";
import css from "./gateway.module.css";
import { unitLabel, UNITS } from "./units";

/** Prices of what is no token of text: what is chosen gets a field of its own. */
export function UnitPrices({ units, change, error, of }: { units: Readonly<Record<string, string>>; change: (units: Record<string, string>) => void; error: (name: string) => string | undefined; of: string }) {
  const chosen = Object.keys(units);
  const known = UNITS.map(({ value }) => ({ value, label: unitLabel(value) }));
  const more = chosen.filter((name) => !UNITS.some((unit) => unit.value === name)).map((name) => ({ value: name, label: name }));
  return (
    <>
      <MultiSelect size="xs" label="Also charges for" aria-label={`What else ${of} charges for`} placeholder={chosen.length === 0 ? "Images, seconds, characters, requests…" : ""} data={[...known, ...more]} value={chosen} onChange={(names) => change(Object.fromEntries(names.map((name) => [name, units[name] ?? ""])))} searchable hidePickedOptions />
      {chosen.length > 0 && (
        <div className={css.triple}>
          {chosen.map((name) => (
            <TextInput key={name} label={unitLabel(name)} aria-label={`${unitLabel(name)}, of ${of}`} value={units[name] ?? ""} inputMode="decimal" maxLength={26} onChange={(event) => change({ ...units, [name]: event.currentTarget.value })} error={error(name)} required />
          ))}
        </div>
      )}
    </>
  );
}
