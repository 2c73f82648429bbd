import { ActionIcon, Tooltip } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import css from "./kit.module.css";

/** Copies `value`; says so. `what` names it for those who do not see the icon. */
export function CopyButton({ value, what, size = "sm" }: { value: string; what: string; size?: "xs" | "sm" | "md" }) {
  const clipboard = useClipboard({ timeout: 1500 });
  return (
    <Tooltip label={clipboard.copied ? "Copied" : `Copy ${what}`}>
      <ActionIcon
        size={size}
        className={css.iconButton}
        aria-label={`Copy ${what}`}
        onClick={(event) => {
          event.stopPropagation();
          event.preventDefault();
          clipboard.copy(value);
        }}
      >
        {clipboard.copied ? <IconCheck size={14} color="var(--t-good)" /> : <IconCopy size={14} />}
      </ActionIcon>
    </Tooltip>
  );
}

/** A command or snippet to take away. */
export function Command({ text, what = "command" }: { text: string; what?: string }) {
  return (
    <div className={css.command}>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- long lines scroll, and scrolling must work by keyboard */}
      <pre tabIndex={0}>{text}</pre>
      <CopyButton value={text} what={what} />
    </div>
  );
}
