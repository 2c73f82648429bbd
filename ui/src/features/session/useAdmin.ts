import { useQuery } from "@tanstack/react-query";
import { sessionQuery } from "@/api/session";

/** Whether the person of this session has the admin's scope; the server decides again at every call. */
export function useAdmin(): boolean {
  const { data } = useQuery(sessionQuery);
  return data !== undefined && data.scopes.includes("admin") && !data.read_only;
}

/** Whether it is an administrator of the whole installation, who may say what is inside its network. */
export function useEverywhere(): boolean {
  const { data } = useQuery(sessionQuery);
  return useAdmin() && data?.everywhere === true;
}
