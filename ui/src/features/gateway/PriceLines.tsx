import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { removePrice, type PriceEntry } from "@/api/models";
import { Chip, type Tone } from "@/kit/Chips";
import { exactPrice, fullTime, unitPrices, UNKNOWN } from "@/kit/format";
import { Confirm } from "@/kit/Forms";
import kit from "@/kit/kit.module.css";
import { Scroll } from "@/kit/Page";
import css from "./gateway.module.css";
import { useKeyNames, whoOf } from "./keyNames";
import { refreshPrices } from "./PriceForm";
import { importedFrom, importWords, stateOf, type LineState } from "./prices";

const STATES: Record<LineState, { tone: Tone; word: string; tip: string }> = {
  counts: { tone: "good", word: "holds", tip: "Of the lines of this table it is the one that holds now" },
  waits: { tone: "accent", word: "to come", tip: "It has not begun" },
  over: { tone: "neutral", word: "over", tip: "It has ended" },
  covered: { tone: "neutral", word: "covered", tip: "One that began later, or this project's own, goes before it" },
};

/** `set by Ada`, `imported from LiteLLM by ci`; what holds in every project is known by Tetrad itself. */
export function whoSays(entry: Pick<PriceEntry, "price" | "everywhere" | "created_by">, names: ReadonlyMap<string, string>): string {
  if (entry.price.source === "local") return "this installation: it runs here";
  const how = importedFrom(entry) === "" ? "set" : importWords(importedFrom(entry));
  return `${how} by ${whoOf(entry.created_by, names)}${entry.everywhere ? ", for every project" : ""}`;
}

const when = (moment: string | null, open: string): string => (moment === null ? open : fullTime(Date.parse(moment)));

/** Everything of a price in words, but for input and output: `cache $0.02 read, $0.04 an image, half in batches`. */
export function elseOf(price: { cache_read?: string | null | undefined; cache_write?: string | null | undefined; batch?: string | null | undefined; units?: Readonly<Record<string, string>> | undefined; currency: string }): string {
  return [
    price.cache_read == null ? "" : `cache read ${exactPrice(price.cache_read, price.currency)}`,
    price.cache_write == null ? "" : `cache written ${exactPrice(price.cache_write, price.currency)}`,
    unitPrices(price.units, price.currency),
    price.batch == null ? "" : `× ${price.batch} in batches`,
  ]
    .filter((part) => part !== "")
    .join(", ");
}

/** The lines of the price table for one model, each with what it does now; those of the project can be taken back. */
export function PriceLines({ project, lines, now, admin }: { project: string; lines: readonly PriceEntry[]; now: number; admin: boolean }) {
  const [going, setGoing] = useState<PriceEntry | null>(null);
  const queries = useQueryClient();
  const names = useKeyNames(project, lines.map((entry) => entry.created_by));
  const remove = useMutation({
    mutationFn: (entry: PriceEntry) => removePrice(project, entry.id),
    onSuccess: () => {
      refreshPrices(queries, project);
      setGoing(null);
    },
  });
  return (
    <>
      <Scroll label="Price table">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Now</th>
              <th scope="col" className={kit.right}>
                Input
              </th>
              <th scope="col" className={kit.right}>
                Output
              </th>
              <th scope="col">Other charges</th>
              <th scope="col">From</th>
              <th scope="col">Until</th>
              <th scope="col">Who says so</th>
              {admin && (
                <th scope="col">
                  <span className="unseen">Take back</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {lines.map((entry) => {
              const state = STATES[stateOf(entry, lines, now)];
              return (
                <tr key={entry.id}>
                  <td>
                    <Chip tone={state.tone} tip={state.tip}>
                      {state.word}
                    </Chip>
                  </td>
                  <td className={kit.right}>{exactPrice(entry.price.input, entry.price.currency)}</td>
                  <td className={kit.right}>{exactPrice(entry.price.output, entry.price.currency)}</td>
                  <td className={css.text}>{elseOf(entry.price) || UNKNOWN}</td>
                  <td className={css.when}>{when(entry.price.valid_from, "always")}</td>
                  <td className={css.when}>{when(entry.price.valid_to, "open")}</td>
                  <td className={css.who} title={entry.created_by}>
                    {whoSays(entry, names)}
                  </td>
                  {admin && (
                    <td className={kit.right}>
                      {!entry.everywhere && (
                        <Button variant="default" size="compact-xs" aria-label={`Take back the price of ${entry.price.input} and ${entry.price.output} from ${when(entry.price.valid_from, "always")}`} onClick={() => setGoing(entry)}>
                          Take back…
                        </Button>
                      )}
                    </td>
                  )}
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
      {going && (
        <Confirm title="Take the price back?" act="Take it back" error={remove.error} busy={remove.isPending} close={() => setGoing(null)} confirm={() => remove.mutate(going)}>
          {exactPrice(going.price.input, going.price.currency)} in and {exactPrice(going.price.output, going.price.currency)} out for {going.model} count no more. Another line of the table counts then, or the public price list; where neither knows a price, calls cost an unknown amount, those of an engine of this installation nothing. What was counted stays.
        </Confirm>
      )}
    </>
  );
}
