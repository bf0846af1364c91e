import type { ButtonHTMLAttributes } from "preact";

interface ButtonProps extends Omit<ButtonHTMLAttributes, "class" | "type"> {
  kind?: "plain" | "primary" | "danger" | "quiet";
  type?: "button" | "submit";
  /** What is going on: shown in place of the text, and the button cannot be used meanwhile. */
  busy?: string | undefined;
}

export function Button({ kind = "plain", type = "button", busy, children, disabled, ...rest }: ButtonProps) {
  return (
    <button {...rest} type={type} class={`button ${kind}`} disabled={disabled || busy !== undefined}>
      {busy ?? children}
    </button>
  );
}
