// Lists that are read page by page, from a server that may not be a hub: they come to an end.

import { FaultError } from "./fault.js";

/** The most characters of a cursor. Those of a hub name a place in a list, by a path at most. */
const MAX_CURSOR = 16 << 10;
/** Pages in a row without an item. A hub sends none but the last one. */
const MAX_EMPTY_PAGES = 100;

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

/** The pages of one list that were read. Its methods throw FaultError for what no hub sends. */
export class Pages {
  readonly #seen = new Set<string>();
  #empty = 0;

  itemsOf<T>(page: Page<T> | null | undefined): T[] {
    if (Array.isArray(page?.items)) return page.items;
    throw new FaultError("the server does not answer as the hub does: its list has no items");
  }

  /** The cursor of the page after one with so many items; null after the last one. */
  next(cursor: unknown, items: number): string | null {
    if (cursor === undefined || cursor === null) return null;
    if (typeof cursor !== "string" || cursor.length > MAX_CURSOR)
      throw new FaultError("the server does not answer as the hub does: it gives a cursor that is none");
    this.#empty = items > 0 ? 0 : this.#empty + 1;
    if (this.#seen.has(cursor) || this.#empty > MAX_EMPTY_PAGES) throw endless();
    this.#seen.add(cursor);
    return cursor;
  }
}

/** The error of a list whose pages do not lead to its end. */
export function endless(): FaultError {
  return new FaultError("the server does not answer as the hub does: its list does not end");
}
