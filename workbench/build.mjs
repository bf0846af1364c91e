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
    "@bufbuild/protobuf/reflect": `./${protobuf}/reflect/index.js`,
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
  return Object.keys(metafile.outputs).find((path) => metafile.outputs[path].entryPoint === entry);
}

/** What a file imports before it runs, and what that imports. */
function imported(path, found = new Set()) {
  for (const { path: next, kind } of metafile.outputs[path].imports)
    if (kind === "import-statement" && !found.has(next)) imported(next, found.add(next));
  return found;
}

const address = (path) => `/workbench/${path.split("/").pop()}`;
const main = written("src/main.tsx");
// Otherwise the browser would learn of them only from the script, a round trip later.
const preloads = [...imported(main)].map((path) => `<link rel="modulepreload" href="${address(path)}">`);
const page = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{style}", address(written("src/page.css")))
  .replace("{preloads}", preloads.join("\n"))
  .replace("{main}", address(main));
writeFileSync(join(output, "index.html"), page);
