import { useRef, useState, type ReactNode } from "react";

import type { Sending } from "../api/sending";
import { Dialog, DoneBy, focusMistake, Noticed } from "./dialog";
import type { IconName } from "./icons";

interface Props<Wish> {
  title: ReactNode;
  /** What it is about, below the title. */
  about: ReactNode;
  /** What the button says. */
  does: string;
  icon: IconName;
  /** Ends or repeats work. */
  grave?: boolean | undefined;
  /** It cannot be done as it is; the dialog says why. */
  barred?: boolean;
  sending: Sending<Wish>;
  /** By field, what is wrong with what stands in it; shown once somebody has tried to send it. */
  wrong: Readonly<Record<string, string | undefined>>;
  /** What is sent; undefined while it cannot be. */
  wish: () => Wish | undefined;
  close: () => void;
  children: (mistake: (field: string) => string | undefined) => ReactNode;
}

/** A dialog in which something is done: sent once, not before all of it is right, and asked again where no answer came. */
export function Deed<Wish>({ title, about, does, icon, grave, barred, sending, wrong, wish, close, children }: Props<Wish>) {
  const [tried, setTried] = useState(false);
  const body = useRef<HTMLDivElement>(null);
  const send = () => {
    if (sending.again) {
      // It may have been done: then it cannot be done any more by now, and only the same once more tells.
      sending.again();
      return;
    }
    setTried(true);
    if (Object.values(wrong).some(Boolean)) {
      focusMistake(body.current);
      return;
    }
    const wanted = wish();
    if (wanted !== undefined) {
      sending.send(wanted);
    }
  };
  return (
    <Dialog
      about={about}
      close={close}
      footer={<DoneBy barred={barred ?? false} close={close} does={does} grave={grave} icon={icon} send={send} sending={sending} />}
      submit={send}
      title={title}
    >
      <div className="eo-dialog-parts" ref={body}>
        <Noticed notice={sending.notice} />
        {children((field) => (tried ? wrong[field] || undefined : undefined))}
      </div>
    </Dialog>
  );
}
