// The bodies of responses, up to a size: one that no hub sends might never end.

import { FaultError, ProblemError, type Problem } from "./errors.js";

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

/** The error of a response that is not a success. Throws as `bytesOf`. */
export async function problemOf(answer: Response, maxBytes: number): Promise<ProblemError> {
  const text = await textOf(answer, maxBytes).catch((error: unknown) => {
    if (error instanceof FaultError) throw error;
    return ""; // its status says something even when the rest is lost
  });
  const seconds = Number(answer.headers.get("Retry-After") ?? NaN);
  return new ProblemError(answer.status, documentOf(text), Number.isFinite(seconds) ? seconds * 1000 : undefined);
}

function documentOf(text: string): Problem | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (parsed !== null && typeof parsed === "object" && "code" in parsed) return parsed as Problem;
  } catch {
    // A proxy's page.
  }
  return undefined;
}
