/** Line icons, drawn here. Decorative always: the control around them carries the name. */
const PATHS = {
  plus: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4",
  send: "M5 12h13M12.5 6l6 6-6 6",
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6L6 18",
  people:
    "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c.5-3.6 3-5.5 6.5-5.5s6 1.9 6.5 5.5M16 4.4a3.5 3.5 0 0 1 0 6.4M18 15c2 .7 3.200 2.400 3.500 5",
  hash: "M9 4L7 20M17 4l-2 16M4 9h16M3.500 15h16",
  lock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
  down: "M12 5v14M6 13l6 6 6-6",
  check: "M5 12.500l4.500 4.500L19 7.500",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3 2",
  alert: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7.500v5.500M12 16.500v.1",
  exit: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  compass: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM15.500 8.500l-2 5-5 2 2-5z",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 14.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Z",
  eyeOff:
    "M4 4l16 16M9.500 5.900A9 9 0 0 1 12 5.500c6 0 9.500 6.500 9.500 6.500a17 17 0 0 1-3 3.700M6 7.600A16 16 0 0 0 2.500 12S6 18.500 12 18.500c1.500 0 2.800-.4 4-1",
  chat: "M4 5h16v11H10l-4 4v-4H4z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { readonly name: IconName; readonly size?: number }) {
  return (
    <svg
      className="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
