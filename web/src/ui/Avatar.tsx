/** Initials on a colour that belongs to the id, so a person looks the same everywhere. */
import { Icon, type IconName } from "./icons.tsx";

/** How many colours `ui/base.css` defines. */
const HUES = 8;

function hueOf(id: string): number {
  let hash = 7;
  for (const char of id) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 65_521;
  return hash % HUES;
}

function initials(name: string): string {
  const words = name.trim().split(/\s+/).slice(0, 2);
  return words
    .map((word) => [...word][0] ?? "")
    .join("")
    .toUpperCase();
}

export function Avatar(props: {
  readonly id: string;
  readonly name: string;
  readonly icon?: IconName;
  readonly size?: "small" | "medium" | "large";
}) {
  const { id, name, icon, size = "medium" } = props;
  return (
    <span
      className={`avatar avatar-${size} hue-${hueOf(id)}`}
      data-shape={icon ? "square" : "round"}
      aria-hidden="true"
    >
      {icon ? <Icon name={icon} size={size === "small" ? 14 : 20} /> : initials(name)}
    </span>
  );
}
