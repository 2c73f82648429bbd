import { Drawer, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useState } from "react";
import type { Preset } from "@/api/gateway";
import { Loading } from "@/kit/States";
import forms from "@/kit/forms.module.css";
import css from "./gateway.module.css";
import { OTHER } from "./search";

/** Asks what provider it is: what is known of it need not be typed. */
export function PresetDrawer({ presets, choose, close }: { presets: Preset[] | undefined; choose: (name: string) => void; close: () => void }) {
  const [q, setQ] = useState("");
  const words = q.trim().toLowerCase();
  const found = (presets ?? []).filter((each) => words === "" || `${each.title} ${each.name} ${each.base_url}`.toLowerCase().includes(words));
  return (
    <Drawer opened onClose={close} position="right" size="xl" title="What provider is it?">
      {presets === undefined ? (
        <Loading />
      ) : (
        <form
          className={forms.form}
          onSubmit={(event) => {
            event.preventDefault();
            if (found.length === 1 && found[0]) choose(found[0].name);
          }}
        >
          <TextInput aria-label="Find a provider" placeholder="Find a provider" value={q} onChange={(event) => setQ(event.currentTarget.value)} leftSection={<IconSearch size={14} />} data-autofocus />
          <Presets title="Hosted" presets={found.filter((each) => !each.local)} choose={choose} />
          <Presets title="On machines of your own" presets={found.filter((each) => each.local)} choose={choose} />
          <section aria-label="Any other">
            <ul className={css.presets}>
              <li>
                <button type="button" className={css.preset} onClick={() => choose(OTHER)}>
                  Another one
                  <span>by its address and the protocol that it speaks</span>
                </button>
              </li>
            </ul>
          </section>
        </form>
      )}
    </Drawer>
  );
}

function Presets({ title, presets, choose }: { title: string; presets: Preset[]; choose: (name: string) => void }) {
  if (presets.length === 0) return null;
  return (
    <section aria-label={title} className={forms.form} style={{ gap: 8 }}>
      <p className={css.note}>{title}</p>
      <ul className={css.presets}>
        {presets.map((each) => (
          <li key={each.name}>
            <button type="button" className={css.preset} onClick={() => choose(each.name)}>
              {each.title}
              <span>{each.base_url.replace(/^https?:\/\//, "").split("/")[0]}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
