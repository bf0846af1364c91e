// Addresses behind the hash: `#/runs/{thread}?after=5`.

import { signal } from "@preact/signals";

export type Params = Readonly<Record<string, string>>;

export interface Address {
  path: string;
  query: URLSearchParams;
}

function current(): Address {
  const [path = "", query = ""] = location.hash.slice(1).split("?", 2);
  return { path: path.startsWith("/") ? path : "/", query: new URLSearchParams(query) };
}

/** Where the page is. */
export const address = signal<Address>(current());
addEventListener("hashchange", () => (address.value = current()));

/** Go to an address, such as `/runs/…`. */
export function go(path: string): void {
  location.hash = path;
}

/** Change the query of the address without a new entry in the browser's history. */
export function replaceQuery(query: Record<string, string>): void {
  const search = new URLSearchParams(query).toString();
  history.replaceState(null, "", `#${address.value.path}${search && `?${search}`}`);
  address.value = current();
}

/** The pattern that a path has, such as `/runs/{thread}`, and its parameters. */
export function matched(path: string, patterns: string[]): { pattern: string; params: Params } | undefined {
  for (const pattern of patterns) {
    const names = pattern.split("/");
    const parts = path.split("/");
    const params: Record<string, string> = {};
    const same =
      names.length === parts.length &&
      names.every((name, index) => {
        const part = parts[index]!;
        if (!name.startsWith("{")) return name === part;
        params[name.slice(1, -1)] = decoded(part);
        return part !== "";
      });
    if (same) return { pattern, params };
  }
  return undefined;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
