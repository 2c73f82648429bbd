import { Button, Modal } from "@mantine/core";
import type { ReactNode } from "react";
import { Failure } from "@/kit/Failure";
import css from "./gateway.module.css";

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
