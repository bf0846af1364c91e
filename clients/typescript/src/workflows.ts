import type { HttpClient } from "./http.js";
import type { CreateWorkflowRequest, Options, Query, UpdateWorkflowRequest, Workflow } from "./resources.js";

/** Workflows, whose files are refined. */
export class Workflows {
  constructor(private readonly http: HttpClient) {}

  create(workflow: CreateWorkflowRequest, { signal }: Options = {}): Promise<Workflow> {
    return this.http.json("POST", "/api/workflows", { body: workflow, signal });
  }

  /** A workflow with the text files of its draft's newest version. */
  get(id: string, { signal }: Options = {}): Promise<Workflow> {
    return this.http.json("GET", `/api/workflows/${encodeURIComponent(id)}`, { signal });
  }

  /** The caller's workflows, newest first, without definitions and files. */
  list(query: Query<"listWorkflows"> = {}, { signal }: Options = {}): AsyncGenerator<Workflow, void, undefined> {
    return this.http.items("/api/workflows", query, signal);
  }

  /** Lock or archive a workflow, or undo that. */
  update(id: string, changes: UpdateWorkflowRequest, { signal }: Options = {}): Promise<Workflow> {
    return this.http.json("PATCH", `/api/workflows/${encodeURIComponent(id)}`, { body: changes, signal });
  }
}
