// The wrong fields of requests: reads a file with a type and its bytes in base64 on each line, prints a JSON array for each.

import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import { wrongFields } from "@bizmatters/ide-orchestrator";
import * as proto from "@bizmatters/ide-orchestrator/proto";

for (const line of readFileSync(process.argv[2], "utf8").trimEnd().split("\n")) {
  const [name, bytes = ""] = line.split(" ");
  const schema = proto[`${name}Schema`];
  console.log(JSON.stringify(wrongFields(schema, fromBinary(schema, Buffer.from(bytes, "base64")))));
}
