// Envelopes of Connect: five bytes before each message, its flags and its length.

export const END = 2;

export interface Envelope {
  flags: number;
  data: Uint8Array;
}

/** One message in its envelope. */
export function enveloped(text: string): Uint8Array<ArrayBuffer> {
  const data = new TextEncoder().encode(text);
  const envelope = new Uint8Array(5 + data.length);
  new DataView(envelope.buffer).setUint32(1, data.length);
  envelope.set(data, 5);
  return envelope;
}

/** Cuts bytes into envelopes. */
export class Envelopes {
  #chunks: Uint8Array[] = [];
  #length = 0;

  *add(chunk: Uint8Array): Generator<Envelope, void, undefined> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    while (this.#length >= 5) {
      const head = this.#joined(5);
      const size = new DataView(head.buffer, head.byteOffset).getUint32(1);
      if (this.#length < 5 + size) return;
      const all = this.#joined(5 + size);
      yield { flags: all[0]!, data: all.slice(5, 5 + size) };
      const rest = all.subarray(5 + size);
      this.#chunks = [rest, ...this.#chunks.slice(1)].filter((each) => each.length > 0);
      this.#length -= 5 + size;
    }
  }

  /** The first chunk, made to have at least so many bytes. */
  #joined(least: number): Uint8Array {
    if (this.#chunks[0]!.length < least) {
      const joined = new Uint8Array(this.#length);
      let at = 0;
      for (const chunk of this.#chunks) {
        joined.set(chunk, at);
        at += chunk.length;
      }
      this.#chunks = [joined];
    }
    return this.#chunks[0]!;
  }
}
