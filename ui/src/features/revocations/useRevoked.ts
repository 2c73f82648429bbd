import { useQueryClient } from "@tanstack/react-query";

/** Everything may look different after a revocation or an erasure; what is on the page is asked for again. */
export function useRevoked(project: string): () => void {
  const queries = useQueryClient();
  return () => {
    void queries.invalidateQueries({ predicate: (query) => query.queryKey[1] === project || query.queryKey[0] === "status" });
  };
}
