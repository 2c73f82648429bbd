/** A new key for a request that may be sent twice. `crypto.randomUUID` is not there on plain HTTP; this is. */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
