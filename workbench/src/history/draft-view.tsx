import type { ViewProps } from "../main.js";

export default function View({ params }: ViewProps) {
  return (
    <section class="view">
      <h1>Draft</h1>
      <p>{Object.values(params).join(" ")}</p>
    </section>
  );
}
