import type { ButtonHTMLAttributes, ReactNode } from "react";
import { Icon, type IconName } from "./icons.tsx";

type Native = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children" | "className" | "aria-label">;

export function Button(
  props: Native & { readonly children: ReactNode; readonly tone?: "primary" | "quiet" | "danger" },
) {
  const { children, tone = "quiet", type = "button", ...rest } = props;
  return (
    <button {...rest} type={type} className={`button button-${tone}`}>
      {children}
    </button>
  );
}

/** A button that shows only an icon; `label` is its name for everyone. */
export function IconButton(
  props: Native & { readonly icon: IconName; readonly label: string; readonly tone?: "plain" | "accent" },
) {
  const { icon, label, tone = "plain", type = "button", ...rest } = props;
  return (
    <button
      {...rest}
      type={type}
      className={`icon-button icon-button-${tone}`}
      aria-label={label}
      title={label}
    >
      <Icon name={icon} />
    </button>
  );
}
