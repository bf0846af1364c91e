// The members of a value, with their types and meanings.

import { nameOf, schemas, type Schema } from "./documents.js";
import { Prose } from "./prose.js";

/** How deep members of members are shown. */
const MAX_DEPTH = 5;

export function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) return nameOf(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices !== undefined) return choices.map(typeOf).join(" | ");
  if (schema.items !== undefined) return `list of ${typeOf(schema.items)}`;
  if (typeof schema.additionalProperties === "object") return `map to ${typeOf(schema.additionalProperties)}`;
  const type = [schema.type ?? "any"].flat().join(" | ");
  return schema.format === undefined ? type : `${type} (${schema.format})`;
}

/** The objects that a schema refers to, by name. */
function referred(schema: Schema): [string, Schema][] {
  if (schema.$ref !== undefined) {
    const name = nameOf(schema.$ref);
    const found = schemas[name];
    return found?.properties !== undefined || found?.enum !== undefined ? [[name, found]] : [];
  }
  const inside = [...(schema.oneOf ?? schema.anyOf ?? schema.allOf ?? []), ...(schema.items ? [schema.items] : [])];
  if (typeof schema.additionalProperties === "object") inside.push(schema.additionalProperties);
  return inside.flatMap(referred);
}

export function SchemaTable({ schema, depth = 0 }: { schema: Schema; depth?: number }) {
  const own = schema.$ref === undefined ? schema : (schemas[nameOf(schema.$ref)] ?? {});
  const members = Object.entries(own.properties ?? {});
  if (members.length === 0) {
    return (
      <>
        <p>
          <code>{typeOf(own)}</code>
        </p>
        {referred(own).map(([name, each]) => (
          <Nested key={name} name={name} schema={each} depth={depth} />
        ))}
      </>
    );
  }
  return (
    <dl class="members">
      {members.map(([name, member]) => (
        <div key={name}>
          <dt>
            <code>{name}</code> <span class="quiet">{typeOf(member)}</span>
            {own.required?.includes(name) && <span class="quiet"> · required</span>}
          </dt>
          <dd>
            <Prose text={member.description} />
            {depth < MAX_DEPTH &&
              referred(member).map(([found, each]) => <Nested key={found} name={found} schema={each} depth={depth} />)}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Nested({ name, schema, depth }: { name: string; schema: Schema; depth: number }) {
  return (
    <details>
      <summary>{name}</summary>
      <Prose text={schema.description} />
      <SchemaTable schema={schema} depth={depth + 1} />
    </details>
  );
}
