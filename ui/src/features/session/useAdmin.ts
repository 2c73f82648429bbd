import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { sessionQuery } from "@/api/session";
import { isAdmin, standingIn, type Standing } from "./standing";

/** What the person of this session may do in the project of this page; undefined until that is known. */
function useStanding(): Standing | undefined {
  const { data } = useQuery(sessionQuery);
  const { project } = useParams({ strict: false });
  return data && standingIn(data, project);
}

/** Whether the person of this session is an admin of this project; the server decides again at every call. */
export function useAdmin(): boolean {
  const standing = useStanding();
  return standing !== undefined && isAdmin(standing);
}

/** Whether the person of this session may do anything but read in this project. */
export function useMayAct(): boolean {
  const standing = useStanding();
  return standing !== undefined && !standing.read_only;
}

/** Whether it is an administrator of the whole installation, who may say what is inside its network. */
export function useEverywhere(): boolean {
  const { data } = useQuery(sessionQuery);
  return data !== undefined && data.everywhere && isAdmin(data);
}
