import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Page } from "@/kit/Page";
import css from "./gateway.module.css";
import { GATEWAY_PAGES } from "./pages";

/** One of the gateway's pages, below the links to all of them. */
export function GatewayPage({ project, title, side, children }: { project: string; title: (typeof GATEWAY_PAGES)[number]["label"]; side?: ReactNode; children: ReactNode }) {
  return (
    <Page title={`${title} · Gateway`} heading={<h1>Gateway</h1>} side={side}>
      <nav aria-label="Gateway" className={css.tabs}>
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
