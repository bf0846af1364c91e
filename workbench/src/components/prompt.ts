// Prompts, without what only the runtime of recorded runs reads.

const DIRECTIVE = /\[\[replay:([^[\]]*)\]\]/g;

/** A prompt as a person wrote it. */
export function promptText(prompt: string): string {
  return prompt.replace(DIRECTIVE, "").trim() || prompt;
}

/** The name of the recording that a prompt requests; undefined without one. */
export function recordingOf(prompt: string): string | undefined {
  return [...prompt.matchAll(DIRECTIVE)].at(-1)?.[1]?.trim().split(" ", 1)[0];
}
