// Messages of each transport, as the wire has them.

import { fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { EventSchema, type Event } from "@bizmatters/ide-orchestrator";
import { WatchRefinementResponseSchema } from "@bizmatters/ide-orchestrator/proto";
import type { Block } from "../../../clients/typescript/src/sse.js";
import type { WireEvent, WireMessage } from "./wire.js";

/** Members of an event's JSON beside the one that names its kind. */
const COMMON = new Set(["seq", "epoch", "create_time", "omitted_bytes"]);
const encoder = new TextEncoder();

type Json = Record<string, unknown>;

export function bytesOf(text: string): number {
  return encoder.encode(text).length;
}

/** An event's JSON, as all transports but one have it. */
export function jsonEvent(json: Json, bytes = bytesOf(JSON.stringify(json))): WireEvent {
  return {
    seq: Number(json["seq"]),
    kind: Object.keys(json).find((name) => !COMMON.has(name)) ?? "unknown",
    bytes,
    time: Date.parse(String(json["create_time"])),
    payload: json,
  };
}

/** A message of `ideo.v1`, or of Connect. */
export function jsonMessage(text: string, bytes = bytesOf(text)): WireMessage {
  const json = JSON.parse(text) as Json;
  const [kind = "unknown"] = Object.keys(json);
  const value = (json[kind] ?? {}) as Json;
  const events = kind === "batch" ? ((value["events"] ?? []) as Json[]).map((event) => jsonEvent(event)) : [];
  return { kind, bytes, events, lastSeq: kind === "hello" ? Number(value["last_seq"] ?? 0) : undefined };
}

/** A message of `ideo.v1.proto`. */
export function binaryMessage(data: Uint8Array): WireMessage {
  const { kind } = fromBinary(WatchRefinementResponseSchema, data);
  return {
    kind: kind.case ?? "unknown",
    bytes: data.length,
    events: kind.case === "batch" ? kind.value.events.map(binaryEvent) : [],
    lastSeq: kind.case === "hello" ? kind.value.lastSeq : undefined,
  };
}

function binaryEvent(event: Event): WireEvent {
  return {
    seq: event.seq,
    kind: (event.kind.case ?? "unknown").replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    bytes: toBinary(EventSchema, event).length,
    time: event.createTime === undefined ? NaN : timestampMs(event.createTime),
    payload: toJson(EventSchema, event, { useProtoFieldName: true }),
  };
}

/** A block of the hub's server-sent events. */
export function sseMessage({ id, event = "", data = "" }: Block): WireMessage {
  const bytes = bytesOf(data);
  const json = JSON.parse(data) as Json;
  if (id !== undefined && event !== "hello") return { kind: "batch", bytes, events: [jsonEvent(json, bytes)] };
  return { kind: event, bytes, events: [], lastSeq: event === "hello" ? Number(json["last_seq"]) : undefined };
}

/** A block of a durable stream: an array of events, or the state of the reader. */
export function durableMessage({ event = "", data = "" }: Block): WireMessage {
  const events = event === "data" ? (JSON.parse(data) as Json[]).map((each) => jsonEvent(each)) : [];
  return { kind: event === "data" ? "batch" : event, bytes: bytesOf(data), events };
}
