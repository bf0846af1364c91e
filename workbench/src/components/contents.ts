// Contents of files, each read once: a hash names a content for ever.

import type { Hub } from "@bizmatters/ide-orchestrator";
import { hub } from "../hub.js";

/** Where a content can be read; `hub`: with another token than the page's. */
export type ContentOwner = { proposal: string; hub?: Hub } | { draft: string } | { refinement: string };

/** A content as text; undefined for bytes that are not UTF-8 text. */
export type Content = { bytes: number; text: string | undefined };

/** Bytes of contents that are kept. */
const MAX_KEPT = 64 << 20;
/** Larger texts are not shown: the page would stand still. */
export const MAX_SHOWN = 4 << 20;

const kept = new Map<string, Content>();
const reading = new Map<string, Promise<Content>>();
let keptBytes = 0;

/** The content with a hash; the empty text without one. */
export function content(owner: ContentOwner, sha256: string | null): Promise<Content> {
  if (sha256 === null) return Promise.resolve({ bytes: 0, text: "" });
  const found = kept.get(sha256);
  if (found !== undefined) return Promise.resolve(found);
  let answer = reading.get(sha256);
  if (answer === undefined) {
    answer = read(owner, sha256)
      .then(decoded)
      .then((read) => keep(sha256, read))
      .finally(() => reading.delete(sha256));
    reading.set(sha256, answer);
  }
  return answer;
}

function read(owner: ContentOwner, sha256: string): Promise<Uint8Array> {
  if ("proposal" in owner) return (owner.hub ?? hub).proposals.content(owner.proposal, sha256);
  if ("draft" in owner) return hub.drafts.content(owner.draft, sha256);
  return hub.refinements.content(owner.refinement, sha256);
}

function keep(sha256: string, read: Content): Content {
  kept.set(sha256, read);
  keptBytes += read.bytes;
  for (const [oldest, { bytes }] of kept) {
    if (keptBytes <= MAX_KEPT || oldest === sha256) break;
    kept.delete(oldest);
    keptBytes -= bytes;
  }
  return read;
}

function decoded(data: Uint8Array): Content {
  try {
    return { bytes: data.length, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data) };
  } catch {
    return { bytes: data.length, text: undefined };
  }
}
