import { Link } from "@tanstack/react-router";
import { useEffect, useRef, type ReactNode } from "react";
import { Page } from "@/kit/Page";
import css from "./gateway.module.css";
import { GATEWAY_PAGES } from "./pages";

/** One of the gateway's pages, below the links to all of them. */
export function GatewayPage({ project, title, side, children }: { project: string; title: (typeof GATEWAY_PAGES)[number]["label"]; side?: ReactNode; children: ReactNode }) {
  const tabs = useRef<HTMLElement>(null);
  // On a narrow screen the links scroll: that of this page is brought into sight.
  useEffect(() => {
    const strip = tabs.current;
    const mine = strip?.querySelector<HTMLElement>("[aria-current=page]");
    if (strip && mine) strip.scrollLeft = mine.offsetLeft - (strip.clientWidth - mine.offsetWidth) / 2;
  }, [title]);
  return (
    <Page title={`${title} · Gateway`} heading={<h1>Gateway</h1>} side={side}>
      <nav ref={tabs} aria-label="Gateway" className={css.tabs}>
        {GATEWAY_PAGES.map((page) => (
          <Link key={page.to} to={page.to} params={{ project }} className={css.tab} activeProps={{ "aria-current": "page" }}>
            {page.label}
          </Link>
        ))}
      </nav>
      {children}
    </Page>
  );
}
