// Paths as the rows of a tree.

export interface TreeItem {
  /** Names the item in the tree; its path, unless two items have the same. */
  key: string;
  path: string;
}

interface Place {
  key: string;
  name: string;
  /** How deep it is, from 1. */
  level: number;
  /** Its position among the rows of its folder, from 1, and their number. */
  position: number;
  siblings: number;
}

export interface FolderRow extends Place {
  kind: "folder";
  open: boolean;
}

export interface FileRow<T extends TreeItem> extends Place {
  kind: "file";
  item: T;
}

export type Row<T extends TreeItem> = FolderRow | FileRow<T>;

interface Folder<T> {
  folders: Map<string, Folder<T>>;
  files: { name: string; item: T }[];
}

/**
 * The rows of the items, folders before files. Folders that only contain one folder share a row.
 *
 * @param closed The keys of folders whose content is not shown.
 */
export function treeRows<T extends TreeItem>(items: readonly T[], closed: ReadonlySet<string>): Row<T>[] {
  const root: Folder<T> = { folders: new Map(), files: [] };
  for (const item of items) {
    const names = item.path.split("/");
    const name = names.pop()!;
    let folder = root;
    for (const each of names[0] === "" ? names.slice(1) : names) {
      let next = folder.folders.get(each);
      if (next === undefined) folder.folders.set(each, (next = { folders: new Map(), files: [] }));
      folder = next;
    }
    folder.files.push({ name: name || item.path || "(no name)", item });
  }
  const rows: Row<T>[] = [];
  // A list of what is still to come instead of calls within calls: a hostile path may be very deep.
  const coming: (FileRow<T> | { kind: "inner"; row: FolderRow; folder: Folder<T> })[] = inside(root, "", 1);
  for (let next = coming.pop(); next !== undefined; next = coming.pop()) {
    if (next.kind === "file") rows.push(next);
    else {
      rows.push({ ...next.row, open: !closed.has(next.row.key) });
      if (!closed.has(next.row.key)) coming.push(...inside(next.folder, next.row.key, next.row.level + 1));
    }
  }
  return rows;

  /** What is directly in a folder, the last first. */
  function inside(folder: Folder<T>, key: string, level: number): typeof coming {
    const siblings = folder.folders.size + folder.files.length;
    let position = 0;
    const place = (name: string) => ({ name, level, siblings, position: ++position });
    const folders = [...folder.folders]
      .sort(([one], [other]) => compare(one, other))
      .map(([first, inner]) => {
        const [name, deepest] = alone(first, inner);
        const row: FolderRow = { kind: "folder", key: `${key}${name}/`, ...place(name), open: true };
        return { kind: "inner" as const, row, folder: deepest };
      });
    const files = folder.files
      .sort((one, other) => compare(one.name, other.name))
      .map(({ name, item }) => ({ kind: "file" as const, key: item.key, ...place(name), item }));
    return [...folders, ...files].reverse();
  }
}

/** A folder with those that are alone in it, as one. */
function alone<T>(name: string, folder: Folder<T>): [string, Folder<T>] {
  while (folder.files.length === 0 && folder.folders.size === 1) {
    const [only] = folder.folders;
    name = `${name}/${only![0]}`;
    folder = only![1];
  }
  return [name, folder];
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
