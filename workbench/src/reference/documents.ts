// The descriptions of the hub's interfaces, as the repository has them. They are large, and loaded with this view alone.

import asyncapi from "../../../docs/reference/asyncapi.json";
import openapi from "../../../docs/reference/openapi.json";
import contract from "../../../docs/reference/rpcs.json";

export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  title?: string;
  format?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  description?: string;
  schema: Schema;
}

export interface Operation {
  operationId: string;
  tags: string[];
  summary?: string;
  description?: string;
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description?: string; content?: Record<string, { schema: Schema }> }>;
}

/** An operation with its place. */
export interface Route extends Operation {
  method: string;
  path: string;
}

export const schemas = openapi.components.schemas as unknown as Record<string, Schema>;
export const routes: Route[] = Object.entries(openapi.paths as unknown as Record<string, Record<string, Operation>>).flatMap(
  ([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ ...operation, path, method: method.toUpperCase() })),
);

export interface SocketDocument {
  channels: {
    refinement: {
      address: string;
      description: string;
      bindings: { ws: { query: Schema; headers: Schema } };
      "x-subprotocols": Record<string, { $ref: string }>;
      "x-close-codes": { code: number; reconnect: string; problems: string[] }[];
    };
  };
  components: {
    messages: Record<string, { title?: string; summary?: string; description?: string; payload?: unknown }>;
    schemas?: Record<string, Schema>;
  };
}
export const socketDocument = asyncapi as unknown as SocketDocument;

export interface Method {
  name: string;
  comment: string;
  request: string;
  response: string;
  stream: boolean;
  reads: boolean;
}
export interface Service {
  name: string;
  comment: string;
  methods: Method[];
}
export interface Field {
  name: string;
  type: string;
  comment: string;
  oneof?: string;
}
export interface Contract {
  package: string;
  services: Service[];
  messages: Record<string, { comment: string; fields: Field[] }>;
  enums: Record<string, { comment: string; values: { name: string; comment: string }[] }>;
}
export const rpcs = contract as unknown as Contract;

/** The name that a reference ends with. */
export function nameOf(reference: string): string {
  return reference.slice(reference.lastIndexOf("/") + 1);
}
