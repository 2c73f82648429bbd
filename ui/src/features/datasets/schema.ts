type Json = Record<string, unknown>;

/** A field of a dataset, by its place in a row. */
export interface Field {
  path: string;
  depth: number;
  type: string;
  required: boolean;
  /** What else its schema says: allowed values, bounds, a pattern, a description. */
  note: string;
}

const DEEPEST = 12;
const RULES = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"];

/** The fields of a JSON schema in the order that people read them: each before what is inside it. */
export function fieldsOf(schema: unknown): Field[] {
  return isObject(schema) ? inside(schema, "", 0) : [];
}

function inside(schema: Json, path: string, depth: number): Field[] {
  if (depth > DEEPEST) return [];
  const required = new Set(Array.isArray(schema.required) ? (schema.required as unknown[]) : []);
  const fields = isObject(schema.properties)
    ? Object.entries(schema.properties).flatMap(([name, inner]) => {
        const child = isObject(inner) ? inner : {};
        const here = path === "" ? name : `${path}.${name}`;
        return [{ path: here, depth, type: typeOf(child), required: required.has(name), note: noteOf(child) }, ...inside(child, here, depth + 1)];
      })
    : [];
  return isObject(schema.items) ? [...fields, ...inside(schema.items, `${path}[]`, depth)] : fields;
}

function typeOf(schema: Json): string {
  if (Array.isArray(schema.anyOf)) return (schema.anyOf as unknown[]).map((each) => (isObject(each) ? typeOf(each) : "any")).join(" or ");
  const names = typeof schema.type === "string" ? [schema.type] : Array.isArray(schema.type) ? (schema.type as unknown[]).map(String) : [];
  if (names.length === 0) return "any";
  return names.map((name) => (name === "array" && isObject(schema.items) ? `array of ${typeOf(schema.items)}` : name)).join(" or ");
}

function noteOf(schema: Json): string {
  const notes = RULES.filter((rule) => schema[rule] !== undefined).map((rule) => `${rule} ${String(schema[rule])}`);
  if (Array.isArray(schema.enum)) notes.unshift(`one of ${(schema.enum as unknown[]).map((each) => JSON.stringify(each)).join(", ")}`);
  if (schema.const !== undefined) notes.unshift(`always ${JSON.stringify(schema.const)}`);
  if (typeof schema.description === "string") notes.unshift(schema.description);
  return notes.join("; ");
}

/** The columns that a table of rows shows: the fields at the top, those that read as a line first. */
export function columnsOf(schema: unknown, most = 6): string[] {
  if (!isObject(schema) || !isObject(schema.properties)) return [];
  const flat = (inner: unknown): number => (isObject(inner) && ["object", "array"].some((t) => typeOf(inner).startsWith(t)) ? 1 : 0);
  const names = Object.entries(schema.properties);
  const chat = names.filter(([name]) => name === "messages");
  const others = names.filter(([name]) => name !== "messages").sort((a, b) => flat(a[1]) - flat(b[1]));
  return [...chat, ...others].slice(0, most).map(([name]) => name);
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
