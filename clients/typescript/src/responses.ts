// The bodies of responses, up to a size: one that a hub does not send might never end.

import { FaultError } from "./fault.js";

/** Larger than any response of a hub: the largest is a draft of 64 MiB, of up to six characters for a byte in JSON. */
export const MAX_RESPONSE_BYTES = 512 << 20;

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
  const text = await textOf(answer, maxBytes);
  if (answer.status === 204) return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new FaultError(`the server does not answer as the hub does: HTTP ${answer.status} without JSON`);
  }
}
