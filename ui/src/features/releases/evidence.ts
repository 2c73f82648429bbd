const NAMES: [RegExp, string][] = [
  [/test-result/, "test result"],
  [/approval/, "approval"],
  [/provenance/, "provenance"],
  [/exception/, "exception"],
  [/verification_summary/, "verdict of a gate"],
];

/** What a kind of statement is called; an unknown one by the end of its address. */
export function predicateName(type: string): string {
  return NAMES.find(([pattern]) => pattern.test(type))?.[1] ?? (type.split("/").filter((part) => !/^v?\d/.test(part)).at(-1) ?? type);
}
