// A proposal under review: the files that differ, what is decided about them, and the calls that decide.

import {
  ProblemError,
  type DiffStatistics,
  type FileDecision,
  type FileDiff,
  type Hunk,
  type Proposal,
} from "@bizmatters/ide-orchestrator";
import { batch, computed, signal } from "@preact/signals";
import { announce } from "../components/announce.js";
import { content, type Content, type ContentOwner } from "../components/contents.js";
import type { TreeItem } from "../components/file-tree/tree-rows.js";
import { hub } from "../hub.js";

export type Decision = "accepted" | "rejected";

/** What a proposal is compared with. */
export type ComparedWith = { base: "started_from" | "draft" } | { proposal: string };

/** A file that differs, as a row of the tree. A rejected file may have the path of another one. */
export interface ReviewedFile extends TreeItem {
  diff: FileDiff;
}

/** Files of the first page, which is shown while the others are read, and of each further one. */
const FIRST_PAGE = 20;
const PAGE = 200;
/** How often it is looked whether somebody else has decided something. */
const POLL_MS = 2000;

export class Review {
  readonly proposal = signal<Proposal>();
  readonly files = signal<readonly ReviewedFile[]>([]);
  readonly statistics = signal<DiffStatistics | null>(null);
  readonly baseVersion = signal<number | null>(null);
  /** Whether all pages of the comparison have been read. */
  readonly complete = signal(false);
  readonly selectedKey = signal<string>();
  readonly error = signal<unknown>();
  /** Why the last decision did not take effect. */
  readonly refusal = signal<unknown>();
  readonly selected = computed(() => this.files.value.find(({ key }) => key === this.selectedKey.value));
  /** Whether decisions are possible. They are about the comparison with the version that the run started from. */
  readonly open = computed(() => {
    const proposal = this.proposal.value;
    return proposal?.status === "completed" && proposal.resolution === null;
  });
  readonly decidable = computed(
    () => this.open.value && "base" in this.comparedWith && this.comparedWith.base === "started_from",
  );
  readonly needingPath = computed(() => this.files.value.filter(({ diff }) => outcomeOf(diff) === "needs a path"));

  readonly #abort = new AbortController();
  #decisions = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly id: string,
    readonly comparedWith: ComparedWith,
    wanted: string | null,
  ) {
    this.selectedKey.value = wanted ?? undefined;
  }

  start(): void {
    void this.load();
    this.#poll();
  }

  stop(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  /** Read the proposal and the comparison. */
  async load(): Promise<void> {
    const signal = this.#abort.signal;
    this.error.value = undefined;
    try {
      const reading = hub.proposals
        .get(this.id, { view: "basic" }, { signal })
        .then((read) => (this.proposal.value = read));
      const [proposal] = await Promise.all([reading, this.#compare(reading)]);
      // A change between the two answers is seen by the next look.
      this.proposal.value = proposal;
    } catch (error) {
      if (!signal.aborted) this.error.value = error;
    }
  }

  /** @param after What comes before the files: a decision about one that is shown needs the newest etag. */
  async #compare(after: Promise<unknown>): Promise<void> {
    const signal = this.#abort.signal;
    const query =
      "proposal" in this.comparedWith ? { other_proposal_id: this.comparedWith.proposal } : this.comparedWith;
    const found: ReviewedFile[] = [];
    let cursor: string | null = null;
    do {
      const page = await this.#page({ ...query, limit: cursor === null ? FIRST_PAGE : PAGE, cursor }, signal);
      if (page === undefined) return;
      await after;
      const first = cursor === null;
      found.push(...page.items.map(reviewed));
      cursor = page.next_cursor;
      batch(() => {
        if (first) {
          this.statistics.value = page.statistics;
          this.baseVersion.value = page.base_version;
        }
        // While it is read again, what was read before stays until all is there.
        if (this.files.value.length <= found.length || cursor === null) this.files.value = [...found];
        this.complete.value = cursor === null;
        if (this.selected.value === undefined && (this.selectedKey.value === undefined || cursor === null))
          this.selectedKey.value = this.files.value[0]?.key;
      });
    } while (cursor !== null);
  }

  async #page(query: Parameters<typeof hub.proposals.diffPage>[1], signal: AbortSignal) {
    try {
      return await hub.proposals.diffPage(this.id, query, { signal });
    } catch (error) {
      // Before the run has ended there is nothing to compare.
      if (error instanceof ProblemError && error.code === "conflict") return undefined;
      throw error;
    }
  }

  #poll(): void {
    this.#timer = setTimeout(async () => {
      const known = this.proposal.value;
      if (document.visibilityState === "visible" && known !== undefined) {
        try {
          const read = await hub.proposals.get(this.id, { view: "basic" }, { signal: this.#abort.signal });
          if (read.etag !== this.proposal.value?.etag && known === this.proposal.value) {
            announce("The decisions have changed.");
            await this.load();
          } else if (known === this.proposal.value) this.proposal.value = read;
        } catch {
          // The next look tries again.
        }
      }
      if (!this.#abort.signal.aborted) this.#poll();
    }, POLL_MS);
  }

  select(file: ReviewedFile): void {
    this.selectedKey.value = file.key;
  }

  /** The two texts of a file. */
  texts({ diff }: ReviewedFile): Promise<[base: Content, text: Content]> {
    return Promise.all([content(this.#baseOwner(), diff.base_sha256), content({ proposal: this.id }, diff.sha256)]);
  }

  #baseOwner(): ContentOwner {
    if ("proposal" in this.comparedWith) return { proposal: this.comparedWith.proposal };
    return { draft: this.proposal.value?.draft_id ?? "" };
  }

  decideHunk(file: ReviewedFile, hunk: Hunk, decision: Decision | null): void {
    this.decide([{ ...named(file), hunk_ids: [hunk.id], decision }]);
  }

  decideFile(file: ReviewedFile, decision: Decision | null, newPath: string | null = file.diff.new_path): void {
    this.decide([{ ...named(file), decision, new_path: decision === "accepted" ? newPath : null }]);
  }

  /** Decide, after the decisions that are still on their way. */
  decide(decisions: FileDecision[]): void {
    this.#decisions = this.#decisions.then(async () => {
      const proposal = this.proposal.value;
      if (proposal === undefined) return;
      this.refusal.value = undefined;
      try {
        const decided = await hub.proposals.decide(proposal, decisions);
        batch(() => {
          this.proposal.value = { ...proposal, ...decided };
          this.files.value = this.files.value.map((file) => decidedFile(file, decisions));
        });
        announce(decisions.map(({ path, decision }) => `${path}: ${decision ?? "undecided"}`).join(", "));
      } catch (error) {
        this.refusal.value = error;
        if (error instanceof ProblemError && ["etag_mismatch", "conflict"].includes(error.code)) await this.load();
      }
    });
  }
}

function reviewed(diff: FileDiff): ReviewedFile {
  // A backslash is in no path that a proposal has.
  const key = diff.rejection === null ? diff.path : `\\${diff.path_id ?? ""}\\${diff.path}`;
  return { key, path: diff.path, diff };
}

/** How a decision names a file. */
function named({ path, diff }: ReviewedFile): Pick<FileDecision, "path" | "path_id"> {
  return { path, path_id: diff.path_id };
}

/** A file with the decisions that are about it, as the hub keeps them. */
function decidedFile(file: ReviewedFile, decisions: FileDecision[]): ReviewedFile {
  let { diff } = file;
  for (const { path, path_id = null, decision, hunk_ids: ids = [], new_path = null } of decisions) {
    if (path !== file.path || path_id !== diff.path_id) continue;
    diff =
      ids.length === 0
        ? { ...diff, decision, new_path }
        : { ...diff, hunks: diff.hunks.map((hunk) => (ids.includes(hunk.id) ? { ...hunk, decision } : hunk)) };
  }
  return diff === file.diff ? file : { ...file, diff };
}

export type Outcome = Decision | "partly accepted" | "needs a path" | "left out";

/** What becomes of a file, with its hunks: accepted, rejected, or partly. */
export function outcomeOf({ decision, hunks, needs_new_path, new_path, rejection }: FileDiff): Outcome {
  const otherwise = decision ?? "accepted";
  if (rejection !== null && new_path === null) return "left out";
  const outcomes = new Set(hunks.map((hunk) => hunk.decision ?? otherwise));
  if (outcomes.size > 1) return "partly accepted";
  const outcome = [...outcomes][0] ?? otherwise;
  return outcome === "accepted" && needs_new_path && new_path === null ? "needs a path" : outcome;
}
