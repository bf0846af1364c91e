import { newRequestId, type HttpClient } from "./http.js";
import type {
  Draft,
  DraftDiffPage,
  FileDiff,
  OnceOptions,
  Options,
  Query,
  UpdateDraftRequest,
  Versioned,
} from "./resources.js";

/** Drafts: the versions of a workflow's files. */
export class Drafts {
  constructor(private readonly http: HttpClient) {}

  /** A version of a draft, by default the newest, with its files. */
  get(id: string, query: Query<"getDraft"> = {}, { signal }: Options = {}): Promise<Draft> {
    return this.http.json("GET", `/api/drafts/${encodeURIComponent(id)}`, { query, signal });
  }

  /** Write files. Returns the version that was made, without files; files that are not named stay. */
  update(
    draft: Versioned,
    changes: UpdateDraftRequest,
    { signal, requestId = newRequestId() }: OnceOptions = {},
  ): Promise<Draft> {
    return this.http.json("PUT", `/api/drafts/${encodeURIComponent(draft.id)}`, {
      body: changes,
      etag: draft.etag,
      requestId,
      signal,
    });
  }

  /** The versions, newest first, without files. */
  versions(
    id: string,
    query: Query<"listDraftVersions"> = {},
    { signal }: Options = {},
  ): AsyncGenerator<Draft, void, undefined> {
    return this.http.items(`/api/drafts/${encodeURIComponent(id)}/versions`, query, signal);
  }

  /** Make a version with the files of an earlier one. */
  restore(draft: Versioned, version: number, { signal, requestId = newRequestId() }: OnceOptions = {}): Promise<Draft> {
    return this.http.json("POST", `/api/drafts/${encodeURIComponent(draft.id)}/restore`, {
      body: { version },
      etag: draft.etag,
      requestId,
      signal,
    });
  }

  /** The files that differ between two versions, in path order. */
  diff(
    id: string,
    query: Query<"diffDraft"> = {},
    { signal }: Options = {},
  ): AsyncGenerator<FileDiff, void, undefined> {
    return this.http.items(`/api/drafts/${encodeURIComponent(id)}/diff`, query, signal);
  }

  /** One page of the same, with the two versions; the first one also has the statistics of all pages. */
  diffPage(
    id: string,
    query: Query<"diffDraft"> & { cursor?: string | null } = {},
    { signal }: Options = {},
  ): Promise<DraftDiffPage> {
    return this.http.json("GET", `/api/drafts/${encodeURIComponent(id)}/diff`, { query, signal });
  }

  /** The content of a file of any version. */
  content(id: string, sha256: string, { signal }: Options = {}): Promise<Uint8Array> {
    return this.http.bytes(`/api/drafts/${encodeURIComponent(id)}/files/${encodeURIComponent(sha256)}`, { signal });
  }
}
