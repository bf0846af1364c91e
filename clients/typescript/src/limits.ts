import { getOption, hasOption, type DescField, type DescMessage, type Message } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { limits as option, type Limits } from "./gen/ide_orchestrator/v1/limits_pb.js";

/** White space, as the hub has it: other than in `\s`, which differs between languages. */
const BLANK = /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$/u;

/**
 * The fields of a request that violate the limits of the contract, by their names in the contract and in its
 * order. A field that holds other messages is wrong when one of these has a wrong field. The hub refuses such a request as
 * `invalid_argument` with the same `fields`. A newer hub may allow more.
 */
export function wrongFields(schema: DescMessage, message: Message): string[] {
  return wrongIn(reflect(schema, message));
}

function wrongIn(message: ReflectMessage): string[] {
  return message.fields.filter((field) => isWrong(message, field)).map((field) => field.name);
}

function isWrong(message: ReflectMessage, field: DescField): boolean {
  const limits = hasOption(field, option) ? getOption(field, option) : undefined;
  if (field.fieldKind === "list") {
    const items = [...message.get(field)];
    const most = limits?.maxItems ?? 0;
    return (most > 0 && items.length > most) || items.some((item) => isWrongValue(item, limits));
  }
  // A number that is 0 was not set; a text may have to be set.
  const needed = field.fieldKind === "scalar" && field.presence === FeatureSet_FieldPresence.IMPLICIT;
  if (field.fieldKind === "map" || (!needed && !message.isSet(field))) return false;
  const value = message.get(field);
  return value !== 0 && isWrongValue(value, limits);
}

function isWrongValue(value: unknown, limits: Limits | undefined): boolean {
  if (isReflected(value)) return value.desc.file.proto.package === option.file.proto.package && wrongIn(value).length > 0;
  if (limits === undefined) return false;
  if (typeof value === "string") return isWrongText(value, limits);
  return typeof value === "number" && (value < limits.min || (limits.max > 0 && value > limits.max));
}

function isReflected(value: unknown): value is ReflectMessage {
  return typeof value === "object" && value !== null && "desc" in value && "fields" in value;
}

function isWrongText(text: string, limits: Limits): boolean {
  const characters = [...text].length;
  return (
    characters < limits.minCharacters ||
    (limits.maxCharacters > 0 && characters > limits.maxCharacters) ||
    (limits.notBlank && BLANK.test(text)) ||
    (limits.noNul && text.includes("\0")) ||
    (text !== "" && limits.pattern !== "" && !new RegExp(`^(?:${limits.pattern})$`, "u").test(text))
  );
}
