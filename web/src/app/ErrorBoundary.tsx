import { Component, type ReactNode } from "react";
import { strings } from "../lib/strings.ts";
import { Button } from "../ui/Button.tsx";
import { Notice } from "../ui/Notice.tsx";

/** A view that breaks takes nothing else with it: drafts and unsent messages live outside React. */
export class ErrorBoundary extends Component<{ readonly children: ReactNode }, { readonly broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError(): { broken: boolean } {
    return { broken: true };
  }

  override render(): ReactNode {
    if (!this.state.broken) return this.props.children;
    return (
      <Notice icon="alert" title={strings.somethingBroke}>
        <Button tone="primary" onClick={() => window.location.reload()}>
          {strings.reload}
        </Button>
      </Notice>
    );
  }
}
