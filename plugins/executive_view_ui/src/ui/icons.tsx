/** Our few icons, drawn with the pen of the text beside them. */

const PATHS = {
  check: "M20 6 9 17l-5-5",
  alert: "M12 9v4m0 4h.01M10.3 3.9 2.4 18a2 2 0 0 0 1.7 3h15.8a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z",
  late: "M12 7v5l3 3M12 21a9 9 0 1 1 9-9M19 16v3m0 3h.01",
  cross: "M18 6 6 18M6 6l12 12",
  clock: "M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
  person: "M19 21v-2a4 4 0 0 0-4-4H9a4 4 0 0 0-4 4v2M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z",
  dash: "M6 12h12",
  dot: "M12 13a1 1 0 1 0 0-2 1 1 0 0 0 0 2Z",
  play: "M7 5v14l11-7Z",
  skip: "M5 5v14l9-7ZM19 5v14",
  remote: "M4 5h16v10H4ZM8 21h8M12 15v6",
  retry: "M3 12a9 9 0 0 1 15-6.7L21 8M21 3v5h-5M21 12a9 9 0 0 1-15 6.7L3 16M3 21v-5h5",
  search: "M11 19a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM21 21l-4.3-4.3",
  print: "M6 9V3h12v6M6 18H4v-7h16v7h-2M7 14h10v7H7Z",
  download: "M12 3v12m0 0 4-4m-4 4-4-4M4 21h16",
  star: "m12 3 2.8 5.7 6.2.9-4.5 4.4 1.1 6.2-5.6-3-5.6 3 1.1-6.2L3 9.6l6.2-.9Z",
  link: "M10 14 21 3m0 0h-6m6 0v6M19 14v6H4V5h6",
  branch: "M6 3v12M18 9a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM6 21a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM18 9a9 9 0 0 1-9 9",
  up: "m6 15 6-6 6 6",
  down: "m6 9 6 6 6-6",
  next: "m9 6 6 6-6 6",
  calendar: "M4 6h16v15H4ZM4 11h16M8 3v4m8-4v4",
  lock: "M5 11h14v10H5ZM8 11V7a4 4 0 0 1 8 0v4",
  pause: "M8 5v14M16 5v14",
  stop: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM6 6l12 12",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  restart: "M3 12a9 9 0 1 0 2.6-6.4L3 8M3 3v5h5",
  edit: "M4 20h4L19.5 8.5l-4-4L4 16ZM13 7l4 4",
  priority: "M12 20V5m0 0-6 6m6-6 6 6",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  help: "M9 9a3 3 0 1 1 4 2.8c-.7.3-1 .9-1 1.7M12 17h.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
} as const;

export type IconName = keyof typeof PATHS;

/** An icon says nothing by itself: the text beside it does, or the label of its button. */
export function Icon({ name, size = 14 }: { name: IconName; size?: number }) {
  return (
    <svg
      aria-hidden
      className="eo-icon"
      fill="none"
      height={size}
      stroke="currentColor"
      strokeLinecap="round"
      strokeLinejoin="round"
      strokeWidth="2.2"
      viewBox="0 0 24 24"
      width={size}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
