import { Component, type ReactNode } from "react";

interface Props {
  children: ReactNode;
  /** Says it in one line: where we are a guest on somebody else's page. */
  quiet?: boolean;
}

/** Keeps an error of ours inside: the host would show nothing at all. Uses no style sheet, which may be what is missing. */
export class Boundary extends Component<Props, { error: Error | undefined }> {
  override state: { error: Error | undefined } = { error: undefined };

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  override componentDidCatch(error: unknown): void {
    console.error("The executive view failed.", error);
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) {
      return this.props.children;
    }
    return (
      <div role="alert" style={{ padding: this.props.quiet ? "0.5rem 0" : "2rem", fontSize: "0.875rem" }}>
        <strong>The streams cannot be shown right now.</strong>{" "}
        <span>The rest of Airflow is not affected; the streams themselves run on.</span>
        {this.props.quiet ? null : <p style={{ opacity: 0.75, marginBlock: "0.5rem" }}>{error.message}</p>}{" "}
        <button
          onClick={() => globalThis.location.reload()}
          style={{ textDecoration: "underline", cursor: "pointer", background: "none", color: "inherit" }}
          type="button"
        >
          Load the page again
        </button>
      </div>
    );
  }
}
