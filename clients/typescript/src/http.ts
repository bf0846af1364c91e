// Calls over HTTP: tokens, problems, retries, pages.

import { Backoff, pause } from "./backoff.js";
import { ProblemError, UnreachableError } from "./errors.js";
import { FaultError } from "./fault.js";
import { Pages, type Page } from "./pages.js";
import { MAX_RESPONSE_BYTES, bytesOf, jsonOf } from "./responses.js";

/**
 * A token, or a function that returns the current one. It is called for each request and each connection, with
 * `rejected` when the hub has just rejected that token: then return a new one.
 */
export type TokenSource = string | ((rejected?: string) => string | Promise<string>);

export interface HubOptions {
  /** The address of the hub, such as `https://hub.example.com`. */
  url: string | URL;
  /** Without one, only what needs none works, and streams with a ticket. */
  token?: TokenSource;
  /** The most attempts of a call whose response is lost or asks to retry: 5 by default. */
  maxAttempts?: number;
  /** The time limit of one response in milliseconds: 60,000 by default. */
  timeoutMs?: number;
  /** The largest response that is read, in bytes, except streams: 512 MiB by default, above all that a hub sends. */
  maxResponseBytes?: number;
  /** Used instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** Used instead of the global `WebSocket`: in Node before 22, that of the package `ws`. */
  WebSocket?: unknown;
}

/** Members of a call beside its method and path. */
export interface CallOptions {
  query?: object | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  /** The etag of what is changed. */
  etag?: string | undefined;
  /** Idempotency key: the call takes effect once, however often it is sent. */
  requestId?: string | undefined;
  signal?: AbortSignal | undefined;
}

export class HttpClient {
  readonly #base: string;
  readonly #options: HubOptions;

  constructor(options: HubOptions) {
    this.#base = String(options.url).replace(/\/+$/, "");
    this.#options = options;
  }

  get hasToken(): boolean {
    return this.#options.token !== undefined;
  }

  /** The largest response that is read, in bytes. */
  get maxBytes(): number {
    return this.#options.maxResponseBytes ?? MAX_RESPONSE_BYTES;
  }

  /** The constructor of WebSockets, if there is one. */
  get WebSocket(): unknown {
    return this.#options.WebSocket ?? globalThis.WebSocket;
  }

  /** The address of a path of the hub. */
  url(path: string, query: object = {}): string {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const each of [value].flat()) if (each !== undefined && each !== null) search.append(name, String(each));
    }
    return this.#base + path + (search.size > 0 ? `?${search}` : "");
  }

  /** The current token; undefined without one. */
  async token(rejected?: string): Promise<string | undefined> {
    const { token } = this.#options;
    return typeof token === "function" ? token(rejected) : token;
  }

  /** One request. Asks for a new token when the hub rejects the first. Throws ProblemError, UnreachableError, FaultError. */
  async request(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const token = await this.token();
    const answer = await this.#fetch(method, path, options, token);
    if (answer.ok) return answer;
    if (answer.status === 401 && token !== undefined) {
      const renewed = await this.token(token);
      if (renewed !== token) {
        const second = await this.#fetch(method, path, options, renewed);
        if (second.ok) return second;
        throw await ProblemError.of(second, this.maxBytes);
      }
    }
    throw await ProblemError.of(answer, this.maxBytes);
  }

  async #fetch(method: string, path: string, options: CallOptions, token: string | undefined): Promise<Response> {
    const headers: Record<string, string> = { ...options.headers };
    if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
    if (options.body !== undefined) headers["Content-Type"] = "application/json";
    if (options.etag !== undefined) headers["If-Match"] = `"${options.etag}"`;
    if (options.requestId !== undefined) headers["Idempotency-Key"] = options.requestId;
    const call = this.#options.fetch ?? globalThis.fetch;
    let answer: Response;
    try {
      answer = await call(this.url(path, options.query), {
        method,
        headers,
        body: options.body === undefined ? null : JSON.stringify(options.body),
        signal: options.signal ?? null,
        // A hub does not redirect, and the token and the body are for its address alone.
        redirect: "manual",
      });
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new UnreachableError(`${this.#base} cannot be reached`, { cause: error });
    }
    // All that a browser says about a redirect.
    if (answer.type === "opaqueredirect") throw new FaultError(`${this.#base} is not a hub: it redirects`);
    return answer;
  }

  /**
   * A call whose answer `read` reads. Reads, and calls with a `requestId`, are repeated when the answer is lost
   * or has `Retry-After`. Throws ProblemError, UnreachableError, FaultError.
   */
  async call<T>(
    method: string,
    path: string,
    options: CallOptions,
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const { maxAttempts = 5 } = this.#options;
    const backoff = new Backoff();
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.once(method, path, options, read);
      } catch (error) {
        const repeatable = method === "GET" || options.requestId !== undefined;
        const temporary = (error instanceof UnreachableError || error instanceof ProblemError) && error.temporary;
        if (!repeatable || !temporary || attempt >= maxAttempts) throw error;
        await pause(backoff.next(error instanceof ProblemError ? error.retryAfterMs : 0), options.signal);
      }
    }
  }

  /** A call that is not repeated. Throws as `call`. */
  async once<T>(
    method: string,
    path: string,
    options: CallOptions,
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const limit = AbortSignal.timeout(this.#options.timeoutMs ?? 60_000);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    try {
      return await read(await this.request(method, path, { ...options, signal }));
    } catch (error) {
      options.signal?.throwIfAborted();
      if ([ProblemError, UnreachableError, FaultError].some((kind) => error instanceof kind)) throw error;
      throw new UnreachableError(`the answer of ${this.#base} was lost`, { cause: error });
    }
  }

  /** A call that answers JSON. Throws as `call`. */
  json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    return this.call(method, path, options, (answer) => jsonOf<T>(answer, this.maxBytes));
  }

  /** The bytes at a path. Throws as `call`. */
  bytes(path: string, options: CallOptions = {}): Promise<Uint8Array> {
    return this.call("GET", path, options, (answer) => bytesOf(answer, this.maxBytes));
  }

  /** The items of all pages of a list; each page is read when the one before has been used. Throws as `call`. */
  async *items<T>(path: string, query: object = {}, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
    const pages = new Pages();
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page: Page<T> | undefined = await this.json("GET", path, { query: { ...query, cursor }, signal });
      const items = pages.itemsOf(page);
      yield* items;
      cursor = pages.next(page?.next_cursor, items.length);
    }
  }
}

/** A new idempotency key. */
export function newRequestId(): string {
  // crypto.randomUUID is missing on pages without TLS.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
