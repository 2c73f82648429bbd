import { Button, Modal } from "@mantine/core";
import { IconEdit, IconTrash } from "@tabler/icons-react";
import { useState, type ReactNode } from "react";
import { Failure } from "./Failure";
import css from "./forms.module.css";

export interface Checked {
  /** What is told of each field: nothing before somebody asked to save. */
  told: Record<string, string>;
  /** Whether something is told. */
  wrong: boolean;
  /** Tells from now on; returns whether all is well. */
  check: () => boolean;
}

/** Holds back what is wrong with a form until somebody asks to save it: who is still writing is not corrected. */
export function useChecked(problems: Record<string, string>): Checked {
  const [asked, setAsked] = useState(false);
  const any = Object.keys(problems).length > 0;
  return {
    told: asked ? problems : {},
    wrong: asked && any,
    check: () => {
      setAsked(true);
      return !any;
    },
  };
}

/** Fields, why they were not taken, and the buttons. Forms inside of others send themselves alone. */
export function Form({ act, submit, close, busy, error, wrong = false, disabled = false, first, children }: { act: string; submit: () => void; close: () => void; busy: boolean; error: unknown; wrong?: boolean; disabled?: boolean; first?: ReactNode; children: ReactNode }) {
  return (
    <form
      className={css.form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        event.stopPropagation();
        if (!disabled && !busy) submit();
      }}
    >
      {children}
      <Failure error={error} />
      {wrong && (
        <p className={css.error} role="alert">
          Something above needs another look.
        </p>
      )}
      <div className={css.buttons}>
        {first !== undefined && <div className={css.first}>{first}</div>}
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" loading={busy} disabled={disabled}>
          {act}
        </Button>
      </div>
    </form>
  );
}

/** Asks before something is taken away. */
export function Confirm({ title, act, error, busy, close, confirm, children }: { title: string; act: string; error: unknown; busy: boolean; close: () => void; confirm: () => void; children: ReactNode }) {
  return (
    <Modal opened onClose={close} title={title}>
      <div className={css.form}>
        <Failure error={error} />
        <p>{children}</p>
        <div className={css.buttons}>
          <Button variant="default" onClick={close} data-autofocus>
            Cancel
          </Button>
          <Button color="red" loading={busy} onClick={confirm}>
            {act}
          </Button>
        </div>
      </div>
    </Modal>
  );
}

/** What an admin does to the thing that a page is of. */
export function ChangeAndRemove({ change, remove }: { change: () => void; remove: () => void }) {
  return (
    <>
      <Button variant="default" leftSection={<IconEdit size={14} />} onClick={change}>
        Change
      </Button>
      <Button variant="default" leftSection={<IconTrash size={14} />} onClick={remove}>
        Remove
      </Button>
    </>
  );
}
