import { Modal } from "@mantine/core";
import type { ReactNode } from "react";
import { AskAdmin } from "./AskAdmin";
import { useAdmin } from "./useAdmin";

/** A form that is for admins of the project, and has an address: whoever else follows a link to it is told whom to ask. */
export function ForAdmins({ title, to, close, children }: { title: string; to: string; close: () => void; children: ReactNode }) {
  if (useAdmin()) return children;
  return (
    <Modal opened onClose={close} title={title}>
      <AskAdmin to={to} />
    </Modal>
  );
}
