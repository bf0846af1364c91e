import { Drafts } from "./drafts.js";
import { FaultError } from "./fault.js";
import { HttpClient, type CallOptions, type HubOptions } from "./http.js";
import { Proposals } from "./proposals.js";
import { Refinements } from "./refinements.js";
import type { Options, ServerInfo, User } from "./resources.js";
import { Workflows } from "./workflows.js";

/**
 * A hub, as one user sees it. Every call throws ProblemError when the hub refuses, UnreachableError when it cannot be
 * reached, and FaultError when the server does not answer as a hub does.
 */
export class Hub {
  readonly workflows: Workflows;
  readonly drafts: Drafts;
  readonly refinements: Refinements;
  readonly proposals: Proposals;
  readonly #http: HttpClient;

  constructor(options: HubOptions) {
    this.#http = new HttpClient(options);
    this.workflows = new Workflows(this.#http);
    this.drafts = new Drafts(this.#http);
    this.refinements = new Refinements(this.#http);
    this.proposals = new Proposals(this.#http);
  }

  /** What the hub offers, and the limits of one caller. */
  info({ signal }: Options = {}): Promise<ServerInfo> {
    return this.#http.json("GET", "/api/info", { signal });
  }

  /**
   * The address of gRPC for transports of Connect, such as `https://hub.example.com:50051`. The token is sent to it, so its
   * host is the hub's own, or one of `trustedHosts`. Throws FaultError when the hub does not say it, for another host, and
   * when gRPC has no TLS though the hub is called with TLS: the token would be readable on its way.
   */
  async grpcUrl({ trustedHosts = [], ...options }: Options & { trustedHosts?: readonly string[] } = {}): Promise<string> {
    const { grpc } = await this.info(options);
    if (!grpc) throw new FaultError("the hub does not say where gRPC is: give its address");
    if (!Number.isInteger(grpc.port)) throw new FaultError("the hub says where gRPC is in a form that cannot be read");
    const { protocol, hostname } = new URL(this.#http.url("/"));
    const host = grpc.host?.includes(":") ? `[${grpc.host}]` : (grpc.host ?? hostname);
    const trusted = [hostname, ...trustedHosts].map((each) => each.toLowerCase());
    if (![host, grpc.host].some((each) => each != null && trusted.includes(each.toLowerCase())))
      throw new FaultError(`the hub says that gRPC is at another host, ${host}: give its address, or trust it`);
    const url = `${grpc.tls ? "https" : "http"}://${host}:${grpc.port}`;
    if (protocol === "https:" && !grpc.tls) throw new FaultError(`gRPC at ${url} has no TLS, and the hub has`);
    return url;
  }

  /** The user of the token. */
  me({ signal }: Options = {}): Promise<User> {
    return this.#http.json("GET", "/api/me", { signal });
  }

  /** A call of the HTTP interface that has no method here, such as those of share links and webhooks. */
  call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    return this.#http.json(method, path, options);
  }
}
