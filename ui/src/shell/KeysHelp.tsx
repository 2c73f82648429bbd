import { Kbd, Modal } from "@mantine/core";
import { SHORTCUTS } from "./keys";
import css from "./shell.module.css";

export function KeysHelp({ close }: { close: () => void }) {
  return (
    <Modal opened onClose={close} title="Keyboard shortcuts" size="lg">
      <div className={css.help}>
        {SHORTCUTS.map(({ group, keys }) => (
          <section key={group}>
            <h3>{group}</h3>
            {keys.map(([key, what]) => (
              <div key={what} className={css.helpRow}>
                <span>{what}</span>
                <span>
                  {key.split(" ").filter(Boolean).map((part) => (
                    <Kbd key={part} size="xs" ml={4}>
                      {part === "mod" ? (/mac/i.test(navigator.userAgent) ? "⌘" : "Ctrl") : part}
                    </Kbd>
                  ))}
                </span>
              </div>
            ))}
          </section>
        ))}
      </div>
    </Modal>
  );
}
