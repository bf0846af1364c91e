// The parts of a message that are not text.

import type { ContentPart } from "@bizmatters/ide-orchestrator";
import { Badge } from "../components/badge.js";
import { Details } from "../components/details.js";
import { size } from "../components/format.js";
import { LongText } from "../components/long-text.js";
import { printable } from "../components/printable.js";

export function ContentParts({ parts }: { parts: readonly ContentPart[] }) {
  return (
    <>
      {parts.map((part, index) => (
        <Part key={index} part={part} />
      ))}
    </>
  );
}

function Part({ part: { kind, extra } }: { part: ContentPart }) {
  switch (kind.case) {
    case "thinking":
      return (
        <Folded name="Thoughts" text={kind.value.text || (kind.value.redacted ? "The provider hides them." : "")} />
      );
    case "refusal":
      return (
        <p>
          <Badge tone="warn">refused</Badge> {kind.value.text}
        </p>
      );
    case "media": {
      const { kind: what, mimeType, url, sizeBytes } = kind.value;
      return (
        <p class="quiet">
          {printable([what, mimeType, url, sizeBytes > 0n ? size(Number(sizeBytes)) : ""].filter(Boolean).join(" · "))}
        </p>
      );
    }
    case "citation":
      return <p class="quiet">Source: {printable([kind.value.title, kind.value.url].filter(Boolean).join(" · "))}</p>;
    case "serverToolCall":
      return <Folded name={`Called ${printable(kind.value.name)}`} text={kind.value.arguments} />;
    case "serverToolResult":
      return <Folded name={`Result ${kind.value.status}`} text={kind.value.output} />;
    case "other":
      return <Folded name={`Content of type ${printable(kind.value.type)}`} text={kind.value.json} />;
    default:
      return <Folded name="Content of an unknown kind" text={extra} />;
  }
}

function Folded({ name, text }: { name: string; text: string }) {
  return (
    <Details summary={name}>{() => <LongText text={text} end />}</Details>
  );
}
