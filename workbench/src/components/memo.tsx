import { Component, type ComponentType } from "preact";

/** A component that is drawn again only when one of its properties is another. */
export function memo<P extends object>(View: ComponentType<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const now = this.props as Record<string, unknown>;
      return Object.entries(next).some(([name, value]) => now[name] !== value);
    }

    render(props: P) {
      return <View {...props} />;
    }
  };
}
