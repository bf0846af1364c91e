// Writes the page into a folder: `node build.mjs [FOLDER]`, by default ../server/workbench. The same sources
// and packages give the same bytes, wherever the repository lies.

import { build } from "esbuild";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = resolve(process.argv[2] ?? join(here, "../server/workbench"));
const client = "../clients/typescript/src";
const protobuf = "node_modules/@bufbuild/protobuf/dist/esm";

rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { main: "src/main.tsx", page: "src/page.css" },
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  minify: true,
  charset: "utf8",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  // The client's generated code is a symbolic link; its one package is that of the page.
  preserveSymlinks: true,
  alias: {
    "@bizmatters/ide-orchestrator": `./${client}/index.ts`,
    "@bizmatters/ide-orchestrator/proto": `./${client}/proto.ts`,
    "@bufbuild/protobuf/codegenv2": `./${protobuf}/codegenv2/index.js`,
    "@bufbuild/protobuf/wkt": `./${protobuf}/wkt/index.js`,
    "@bufbuild/protobuf": `./${protobuf}/index.js`,
  },
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  outdir: output,
  metafile: true,
});

/** The file that an entry was written to. */
function written(entry) {
  const found = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === entry);
  return found[0].split("/").pop();
}

const page = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{main}", written("src/main.tsx"))
  .replace("{style}", written("src/page.css"));
writeFileSync(join(output, "index.html"), page);
