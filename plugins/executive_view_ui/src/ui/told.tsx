/** What came of an action, told on whatever page one is by then, until one has read it. */

import { useEffect, useRef, useSyncExternalStore } from "react";

import type { Tone } from "../lib/words";
import { Icon } from "./icons";

interface Said {
  number: number;
  text: string;
  tone: Tone;
}

let said: Said | undefined;
let number = 0;
const listeners = new Set<() => void>();

function change(to: Said | undefined): void {
  said = to;
  listeners.forEach((listener) => listener());
}

/** Tells it, and takes the focus there: the button that was pressed may be gone. */
export function say(text: string, tone: Tone = "ok"): void {
  number += 1;
  change({ number, text, tone });
}

export const unsay = (): void => change(undefined);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Told() {
  const now = useSyncExternalStore(subscribe, () => said);
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (now) {
      close.current?.focus({ preventScroll: true });
    }
  }, [now]);
  return (
    <div className="eo eo-told-room" role="status">
      {now ? (
        <div
          className="eo-told"
          data-tone={now.tone}
          key={now.number}
          onKeyDown={(event) => {
            if (event.key === "Escape") {
              event.stopPropagation();
              unsay();
            }
          }}
        >
          <Icon name={now.tone === "ok" ? "check" : "alert"} />
          <p>{now.text}</p>
          <button aria-label="Close this message" className="eo-button eo-square" onClick={unsay} ref={close} type="button">
            <Icon name="cross" size={12} />
          </button>
        </div>
      ) : null}
    </div>
  );
}
