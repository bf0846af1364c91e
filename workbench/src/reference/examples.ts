// Values that an example begins with: those of a schema, and ids of what the caller has.

import { hub } from "../hub.js";
import { nameOf, rpcs, schemas, type Field, type Schema } from "./documents.js";

/** Ids by the name of a parameter or a field, such as `workflow_id`. */
export type Known = Readonly<Record<string, string>>;

/** The newest workflow of the caller, and the newest proposal. */
export async function knownIds(signal: AbortSignal): Promise<Known> {
  const found: Record<string, string> = {};
  for await (const { id, current_draft_id } of hub.workflows.list({ limit: 1 }, { signal })) {
    found["workflow_id"] = id;
    found["draft_id"] = current_draft_id;
    break;
  }
  for await (const { id, thread_id } of hub.proposals.list({ limit: 1 }, { signal })) {
    found["proposal_id"] = id;
    found["thread_id"] = thread_id;
    break;
  }
  return found;
}

/** A value that fits a schema: its required members, with known ids. */
export function exampleOf(schema: Schema | undefined, known: Known, name = "", depth = 0): unknown {
  if (schema === undefined || depth > 6) return {};
  if (schema.$ref !== undefined) return exampleOf(schemas[nameOf(schema.$ref)], known, name, depth + 1);
  if (schema.const !== undefined) return schema.const;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum?.length) return schema.enum[0];
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices !== undefined) return exampleOf(choices.find(({ type }) => type !== "null"), known, name, depth + 1);
  const type = Array.isArray(schema.type) ? schema.type.find((each) => each !== "null") : schema.type;
  switch (type) {
    case "string":
      return known[name] ?? (schema.format === "uuid" ? (known[name] ?? "") : textFor(name));
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return false;
    case "array":
      return schema.items === undefined ? [] : [exampleOf(schema.items, known, name, depth + 1)];
    default: {
      const members = Object.entries(schema.properties ?? {}).filter(([each]) => schema.required?.includes(each));
      return Object.fromEntries(members.map(([each, of]) => [each, exampleOf(of, known, each, depth + 1)]));
    }
  }
}

function textFor(name: string): string {
  const texts: Record<string, string> = { user_prompt: "Add web search", name: "demo", decision: "accepted" };
  return texts[name] ?? "";
}

/** A request of a method: the ids and texts that it may have, as JSON. */
export function requestOf(message: string, known: Known): unknown {
  const fields = rpcs.messages[message]?.fields ?? [];
  const members = fields.flatMap(({ name, type }: Field): [string, unknown][] => {
    const text = known[name] ?? textFor(name);
    if (type === "string" && text !== "") return [[name, text]];
    return name === "page_size" ? [[name, 3]] : [];
  });
  return Object.fromEntries(members);
}
