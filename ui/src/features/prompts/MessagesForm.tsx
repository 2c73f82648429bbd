import { ActionIcon, Button, Menu, Textarea, Tooltip } from "@mantine/core";
import { IconArrowUp, IconPlus, IconTrash } from "@tabler/icons-react";
import { sectionAt, writeFile, type PromptFile, type Section } from "./file";
import css from "./prompts.module.css";

const ADDED = ["system", "user", "assistant"] as const;

/** The messages of a prompt, each in a field of its own: nothing else of the file needs to be known to change them. */
export function MessagesForm({ file, onChange, problem }: { file: PromptFile; onChange: (text: string) => void; problem: { line: number | null; words: string } | null }) {
  const change = (sections: Section[]): void => onChange(writeFile({ ...file, sections }));
  const wrong = problem?.line == null ? null : sectionAt(file, problem.line);
  return (
    <div className={css.form}>
      {file.sections.map((section, n) => {
        const placeholder = section.role === "placeholder";
        return (
          <div key={n} className={css.formMessage}>
            <div className={css.formHead}>
              <span className={css.formRole}>{placeholder ? "messages of the request" : section.role}</span>
              <span className={css.formTools}>
                {n > 0 && (
                  <Tooltip label="Move up">
                    <ActionIcon size="sm" aria-label={`Move message ${n + 1} up`} onClick={() => change(swapped(file.sections, n))}>
                      <IconArrowUp size={13} />
                    </ActionIcon>
                  </Tooltip>
                )}
                {file.sections.length > 1 && (
                  <Tooltip label="Remove">
                    <ActionIcon size="sm" aria-label={`Remove message ${n + 1}`} onClick={() => change(file.sections.filter((_, i) => i !== n))}>
                      <IconTrash size={13} />
                    </ActionIcon>
                  </Tooltip>
                )}
              </span>
            </div>
            <Textarea
              autosize
              minRows={placeholder ? 1 : 3}
              size="sm"
              readOnly={placeholder}
              aria-label={`Text of message ${n + 1}, ${section.role}`}
              value={section.text}
              error={wrong === n ? problem?.words : undefined}
              spellCheck
              classNames={{ input: css.formText ?? "" }}
              onChange={(event) => change(file.sections.map((each, i) => (i === n ? { ...each, text: event.currentTarget.value } : each)))}
            />
          </div>
        );
      })}
      <Menu position="bottom-start">
        <Menu.Target>
          <Button variant="subtle" size="compact-xs" leftSection={<IconPlus size={13} />} style={{ alignSelf: "flex-start" }}>
            Add a message
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {ADDED.map((role) => (
            <Menu.Item key={role} onClick={() => change([...file.sections, { role, text: "", line: 0 }])}>
              {role}
            </Menu.Item>
          ))}
        </Menu.Dropdown>
      </Menu>
    </div>
  );
}

function swapped(sections: Section[], n: number): Section[] {
  const found = [...sections];
  const [one, other] = [found[n - 1], found[n]];
  if (one && other) [found[n - 1], found[n]] = [other, one];
  return found;
}
