import { IconChevronRight } from "@tabler/icons-react";
import { Fragment, type ReactNode } from "react";
import css from "./lists.module.css";

/** The heading of a page below others: the way there, and its own name. */
export function Crumbs({ up, children }: { up: ReactNode[]; children: ReactNode }) {
  return (
    <h1 className={css.crumbs}>
      {up.map((link, i) => (
        <Fragment key={i}>
          {link}
          <IconChevronRight size={15} aria-hidden="true" />
        </Fragment>
      ))}
      <span className={css.here}>{children}</span>
    </h1>
  );
}
