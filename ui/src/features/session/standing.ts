import type { Session } from "@/api/session";

export interface Standing {
  scopes: readonly string[];
  read_only: boolean;
}

/** What somebody may do in a project; outside of any, or in one that is not known, what holds everywhere. */
export function standingIn(session: Session, project: string | undefined): Standing {
  return session.projects.find(({ name }) => name === project) ?? session;
}

/** Whether that is what an admin may. */
export const isAdmin = ({ scopes, read_only }: Standing): boolean => scopes.includes("admin") && !read_only;
