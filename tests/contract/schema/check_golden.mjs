// Reads every golden event with the TypeScript stubs: binary and JSON must be the same message, and be
// written back unchanged. Arguments: the compiled stubs' folder, the golden folder. Prints what is wrong.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { pathToFileURL } from "node:url";
import { equals, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";

const [stubs, golden] = process.argv.slice(2);
const { EventSchema } = await import(pathToFileURL(join(stubs, "ide_orchestrator/v1/event_pb.js")).href);

const names = readdirSync(golden).filter((name) => name.endsWith(".json"));
let bad = 0;
const expect = (good, name, what) => {
  if (!good) {
    bad += 1;
    console.log(`${name}: ${what}`);
  }
};
for (const name of names) {
  const json = JSON.parse(readFileSync(join(golden, name), "utf8"));
  const bytes = readFileSync(join(golden, name.replace(/json$/, "binpb")));
  const event = fromBinary(EventSchema, bytes);
  expect(event.kind.case !== undefined, name, "has no kind");
  expect(equals(EventSchema, event, fromJson(EventSchema, json)), name, "binary and JSON differ");
  expect(isDeepStrictEqual(toJson(EventSchema, event, { useProtoFieldName: true }), json), name, "other JSON");
  const again = fromBinary(EventSchema, toBinary(EventSchema, event));
  expect(equals(EventSchema, event, again), name, "does not survive its own bytes");
}
console.log(`${names.length} events, ${bad} bad`);
process.exit(bad || names.length === 0 ? 1 : 0);
