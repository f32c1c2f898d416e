import type { ReactNode } from "react";
import { Icon, type IconName } from "./icons.tsx";

/** A calm page in the middle of a pane: nothing here, not found, choose something. */
export function Notice(props: {
  readonly icon: IconName;
  readonly title: string;
  readonly hint?: string;
  readonly children?: ReactNode;
}) {
  const { icon, title, hint, children } = props;
  return (
    <div className="notice">
      <span className="notice-icon">
        <Icon name={icon} size={28} />
      </span>
      <h2>{title}</h2>
      {hint === undefined ? null : <p>{hint}</p>}
      {children}
    </div>
  );
}

/** Three dots that breathe; still for those who asked for less motion. */
export function Waiting({ label }: { readonly label: string }) {
  return (
    <span className="waiting" role="status">
      <i />
      <i />
      <i />
      <span className="hidden">{label}</span>
    </span>
  );
}
