import { useEffect, type ReactNode } from "react";
import css from "./kit.module.css";

/** A page with its heading; the browser's tab is named after it. */
export function Page({ title, heading, side, children }: { title: string; heading?: ReactNode; side?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <div className={css.page}>
      <header className={css.header}>
        {heading ?? <h1>{title}</h1>}
        {side !== undefined && <div className={css.side}>{side}</div>}
      </header>
      {children}
    </div>
  );
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Tetrad`;
  }, [title]);
}

/** A framed part of a page; `note` says the unit and the window of what it shows. */
export function Panel({ title, note, side, children, flush = false, label }: { title?: ReactNode; note?: ReactNode; side?: ReactNode; children: ReactNode; flush?: boolean; label?: string }) {
  return (
    <section className={css.panel} aria-label={label ?? (typeof title === "string" ? title : undefined)}>
      {title !== undefined && (
        <div className={css.panelHead}>
          <h2>{title}</h2>
          {note !== undefined && <span className={css.note}>{note}</span>}
          {side !== undefined && <span className={css.side}>{side}</span>}
        </div>
      )}
      {flush ? children : <div className={css.panelBody}>{children}</div>}
    </section>
  );
}

/** What may be wider or longer than its place: it scrolls, also by keyboard. */
export function Scroll({ label, className, children }: { label: string; className?: string | undefined; children: ReactNode }) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolling must work without a mouse
    <div role="group" aria-label={label} tabIndex={0} className={className ?? css.scroll}>
      {children}
    </div>
  );
}

export function Facts({ items }: { items: [string, ReactNode][] }) {
  return (
    <dl className={css.facts}>
      {items
        .filter(([, value]) => value !== "" && value !== null && value !== undefined)
        .map(([name, value]) => (
          <div key={name} style={{ display: "contents" }}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
