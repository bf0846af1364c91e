// CodeMirror in a shadow root: its styles are adopted style sheets there, which need no exception in the page's
// content security policy. Colours are the page's custom properties, which a shadow root inherits.

import { HighlightStyle, syntaxHighlighting, type LanguageSupport } from "@codemirror/language";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, highlightSpecialChars, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const HIGHLIGHT = HighlightStyle.define([
  { tag: [tags.keyword, tags.heading, tags.tagName], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.link, tags.url], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment, tags.meta], color: "var(--code-comment)" },
  { tag: [tags.propertyName, tags.definition(tags.variableName), tags.labelName], color: "var(--code-name)" },
  { tag: tags.heading, fontWeight: "600" },
  { tag: tags.emphasis, fontStyle: "italic" },
  { tag: tags.strong, fontWeight: "600" },
]);

const THEME = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--surface)", fontSize: "var(--code-size)", height: "100%", minHeight: "0" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--quiet)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--selection)" },
});

/** What every editor of the page has. */
export const LOOK: Extension = [THEME, syntaxHighlighting(HIGHLIGHT), lineNumbers()];
/** The lines of the texts that the hub compares: ended by "\n" alone, wrapped, what cannot be seen marked. */
export const LINES: Extension = [EditorState.lineSeparator.of("\n"), EditorView.lineWrapping, highlightSpecialChars()];
export const READ_ONLY: Extension = [EditorState.readOnly.of(true), EditorView.contentAttributes.of({ "aria-readonly": "true" })];

/** The shadow root of an element, made if it has none. */
export function shadowOf(host: HTMLElement): ShadowRoot {
  return host.shadowRoot ?? host.attachShadow({ mode: "open" });
}

const LANGUAGES: Record<string, () => Promise<LanguageSupport>> = {
  md: async () => (await import("@codemirror/lang-markdown")).markdown(),
  json: async () => (await import("@codemirror/lang-json")).json(),
  yaml: async () => (await import("@codemirror/lang-yaml")).yaml(),
  py: async () => (await import("@codemirror/lang-python")).python(),
  js: async () => (await import("@codemirror/lang-javascript")).javascript({ jsx: true }),
  ts: async () => (await import("@codemirror/lang-javascript")).javascript({ typescript: true, jsx: true }),
};
const SAME: Record<string, string> = { yml: "yaml", markdown: "md", mjs: "js", cjs: "js", jsx: "js", tsx: "ts" };

/** The language of a file by the end of its name; nothing for one that is not known. */
export async function languageOf(path: string): Promise<Extension> {
  const ending = path.split(".").pop()!.toLowerCase();
  const load = LANGUAGES[SAME[ending] ?? ending];
  return load === undefined ? [] : await load();
}
