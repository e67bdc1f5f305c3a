import { useRef, useState } from "react";

import { NoAnswer, newId, useRenew } from "./actions";
import { ApiProblem } from "./client";

export interface Notice {
  tone: "risk" | "failed";
  text: string;
}

export interface Sending<Wish> {
  send: (wish: Wish) => void;
  busy: boolean;
  /** No answer came to the last try, so it may have been done: this asks the very same again. */
  again: (() => void) | undefined;
  notice: Notice | undefined;
  /** What was typed has changed: what came of the last try is no longer about it. */
  forget: () => void;
}

interface How<Wish, Told> {
  call: (id: string, wish: Wish) => Promise<Told>;
  /** What makes a wish the same as another; all of it, unless this says otherwise. */
  same?: (wish: Wish) => unknown;
  done: (told: Told) => void;
  /** Somebody was faster: what is shown is to be looked up anew. */
  faster?: () => void;
}

/** Sends what changes something. The same wish goes under the same id, so that asking again does nothing twice. */
export function useSending<Wish, Told>({ call, same = (wish) => wish, done, faster }: How<Wish, Told>): Sending<Wish> {
  const [busy, setBusy] = useState(false);
  const [notice, setNotice] = useState<Notice>();
  const [open, setOpen] = useState<{ wish: Wish } | undefined>();
  const last = useRef<{ written: string; id: string } | undefined>(undefined);
  // A second click comes before the button has been drawn anew.
  const under = useRef(false);
  const renew = useRenew();
  const forget = () => {
    setOpen(undefined);
    setNotice(undefined);
  };
  const send = (wish: Wish) => {
    if (under.current) {
      return;
    }
    under.current = true;
    const written = JSON.stringify(same(wish));
    if (last.current?.written !== written) {
      last.current = { written, id: newId() };
    }
    setBusy(true);
    forget();
    call(last.current.id, wish)
      .then((told) => {
        renew();
        done(told);
      })
      .catch((error: unknown) => {
        setOpen(error instanceof NoAnswer ? { wish } : undefined);
        setNotice(noticeOf(error));
        if (error instanceof ApiProblem && error.status === 409) {
          renew();
          faster?.();
        }
      })
      .finally(() => {
        under.current = false;
        setBusy(false);
      });
  };
  return { send, busy, again: open && (() => send(open.wish)), notice, forget };
}

function noticeOf(error: unknown): Notice {
  if (error instanceof NoAnswer) {
    return { tone: "risk", text: "No answer came, so nobody knows whether it was done. Ask again: nothing is done twice." };
  }
  const text = error instanceof Error ? error.message : String(error);
  return error instanceof ApiProblem && error.status === 409
    ? { tone: "risk", text: `Somebody was faster: ${text.replace(/\.?$/u, ".")} Below is how it is now.` }
    : { tone: "failed", text };
}
