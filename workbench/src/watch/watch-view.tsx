import type { ViewProps } from "../main.js";

export default function WatchView({ params }: ViewProps) {
  return (
    <section class="view">
      <h1>Refinement</h1>
      <p>{params["thread"]}</p>
    </section>
  );
}
