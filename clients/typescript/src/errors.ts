// What can go wrong in a call or in a stream.

import { FaultError } from "./fault.js";
import { MAX_RESPONSE_BYTES, textOf } from "./responses.js";
import type { Problem as ProblemDocument, ProblemCode } from "./resources.js";

/** The longest wait that a server may ask for: 5 minutes. A hub's own limits count minutes, and timers have a limit, too. */
const MAX_RETRY_AFTER_MS = 300_000;

/** Node's codes for a certificate that is not accepted. */
const CERTIFICATE_REFUSED = /^(CERT_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_|UNABLE_TO_(GET|VERIFY)_|ERR_TLS_CERT_)/;

/** Problem details (RFC 9457), as the hub returns them. Some codes have members of their own. */
export type Problem = Omit<ProblemDocument, "code"> & {
  code: ProblemCode | (string & {});
  fields?: Record<string, string>;
  [member: string]: unknown;
};

/** The hub refused a call. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";

  /**
   * @param status The HTTP status.
   * @param problem The answer's document; undefined when something before the hub answered.
   * @param retryAfterMs How long to wait before the call may succeed, in milliseconds; undefined when
   *     repeating it does not help by itself.
   */
  constructor(
    readonly status: number,
    readonly problem: Problem | undefined,
    readonly retryAfterMs: number | undefined,
  ) {
    super(problem?.detail || problem?.title || `HTTP ${status}`);
  }

  /** The stable code, such as `not_found`; empty when something before the hub answered. */
  get code(): Problem["code"] | "" {
    return this.problem?.code ?? "";
  }

  /** What is wrong with each invalid field. */
  get fields(): Record<string, string> {
    return this.problem?.fields ?? {};
  }

  /** The trace id: finds the call in the hub's logs. */
  get traceId(): string {
    return this.problem?.trace_id ?? "";
  }

  /** Whether the same call may succeed later. */
  get temporary(): boolean {
    if (this.retryAfterMs !== undefined) return true;
    return this.problem?.code === undefined && [408, 429, 500, 502, 503, 504].includes(this.status);
  }

  /** The error of a response that is not a success. Throws FaultError for one whose body does not end. */
  static async of(answer: Response, maxBytes = MAX_RESPONSE_BYTES): Promise<ProblemError> {
    const text = await textOf(answer, maxBytes).catch((error: unknown) => {
      if (error instanceof FaultError) throw error;
      return ""; // its status says something even when the rest is lost
    });
    const seconds = answer.headers.get("Retry-After") ?? "";
    const retryAfterMs = /^\d+$/.test(seconds) ? Math.min(Number(seconds) * 1000, MAX_RETRY_AFTER_MS) : undefined;
    return new ProblemError(answer.status, problemOf(text), retryAfterMs);
  }
}

function problemOf(text: string): Problem | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (parsed !== null && typeof parsed === "object" && "code" in parsed) return parsed as Problem;
  } catch {
    // A proxy's page.
  }
  return undefined;
}

/** The hub did not answer: it cannot be reached, the connection broke, or the response took too long. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";

  /** Whether the same call may succeed later: not where the server's certificate is not accepted. Browsers hide that. */
  get temporary(): boolean {
    for (let cause: unknown = this.cause; cause instanceof Error; cause = cause.cause) {
      if (CERTIFICATE_REFUSED.test(String((cause as { code?: unknown }).code))) return false;
    }
    return true;
  }
}

/** A stream ended, and connecting again would not help. `code` is that of the WebSocket's close. */
export class StreamClosedError extends Error {
  override readonly name = "StreamClosedError";

  constructor(
    readonly code: number,
    reason: string,
  ) {
    super(`the stream was closed with ${code} ${reason}`.trimEnd());
  }
}
