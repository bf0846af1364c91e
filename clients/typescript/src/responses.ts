// The bodies of responses, up to a size: one that a hub does not send might never end.

import { FaultError } from "./fault.js";

/** Larger than any response of a hub: the largest is a draft of 64 MiB, of up to six characters for a byte in JSON. */
export const MAX_RESPONSE_BYTES = 512 << 20;

/** Bytes of JSON that may consist of anything, and what a larger text has at most: a hub's are large by the texts in them, such as the lines of files. */
const ANY_JSON_BYTES = 8 << 20;
const MAX_TEXTS = 8_000_000;
const MAX_OTHER_VALUES = 1_000_000;
const [QUOTE, BACKSLASH, COMMA, BRACKET, BRACE] = [34, 92, 44, 91, 123];

/** The bytes of a body. Throws FaultError for one of more than `maxBytes`. */
export async function bytesOf(answer: Response, maxBytes: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = answer.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > maxBytes) {
      reader.cancel().catch(() => {});
      throw new FaultError(`the server does not answer as the hub does: its answer has more than ${maxBytes} bytes`);
    }
    pieces.push(value);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** The text of a body. Throws as `bytesOf`. */
export async function textOf(answer: Response, maxBytes: number): Promise<string> {
  return new TextDecoder().decode(await bytesOf(answer, maxBytes));
}

/** The JSON value of a body; undefined where the answer has none by its status. Throws as `bytesOf`, and for other texts. */
export async function jsonOf<T>(answer: Response, maxBytes: number): Promise<T> {
  const bytes = await bytesOf(answer, maxBytes);
  if (answer.status === 204) return undefined as T;
  if (isDense(bytes)) throw new FaultError("the server does not answer as the hub does: its answer has too many values");
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as T;
  } catch {
    throw new FaultError(`the server does not answer as the hub does: HTTP ${answer.status} without JSON`);
  }
}

/** Whether a text has more values than a hub sends: each may take many times its bytes. Found without parsing it. */
function isDense(bytes: Uint8Array): boolean {
  if (bytes.length <= ANY_JSON_BYTES) return false;
  let [texts, values] = [0, 0];
  let inText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      inText = !inText;
      if (inText) texts++;
    } else if (inText && byte === BACKSLASH) at++;
    else if (!inText && (byte === COMMA || byte === BRACKET || byte === BRACE)) values++;
  }
  return texts > MAX_TEXTS || values - texts > MAX_OTHER_VALUES;
}
