import { useId, useLayoutEffect, useRef, type KeyboardEvent, type ReactNode } from "react";

import { Icon, type IconName } from "./icons";

const FOCUSABLE = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), summary, [tabindex='0']";

interface Props {
  title: ReactNode;
  /** What it is about, below the title. */
  about?: ReactNode;
  close: () => void;
  /** What Ctrl+Enter does; Enter alone never does anything. */
  submit?: (() => void) | undefined;
  wide?: boolean;
  footer: ReactNode;
  children: ReactNode;
}

/** A dialog above the page: the keyboard stays within it, Esc closes it, and the focus returns to where it came from. */
export function Dialog({ title, about, close, submit, wide = false, footer, children }: Props) {
  const room = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Before the page is drawn, and before it is taken away: later the focus would be nowhere.
  useLayoutEffect(() => {
    const dialog = room.current;
    const from = document.activeElement;
    dialog?.showModal();
    const body = dialog?.querySelector<HTMLElement>(".eo-dialog-body");
    (body?.querySelector<HTMLElement>(FOCUSABLE) ?? dialog?.querySelector<HTMLElement>(FOCUSABLE))?.focus();
    return () => {
      dialog?.close();
      if (from instanceof HTMLElement && from.isConnected) {
        from.focus();
      }
    };
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    // The page behind has keys of its own, and Esc closes what is open there.
    event.stopPropagation();
    if (event.key === "Escape") {
      event.preventDefault();
      close();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit?.();
    } else if (event.key === "Tab") {
      const all = [...(room.current?.querySelectorAll<HTMLElement>(FOCUSABLE) ?? [])].filter((one) => one.offsetParent !== null);
      const [first, last] = [all[0], all.at(-1)];
      const edge = event.shiftKey ? first : last;
      if (document.activeElement === edge || !room.current?.contains(document.activeElement)) {
        event.preventDefault();
        (event.shiftKey ? last : first)?.focus();
      }
    }
  };
  return (
    <dialog
      aria-describedby={about ? `${id}-about` : undefined}
      aria-labelledby={`${id}-title`}
      className="eo-dialog"
      data-wide={wide ? "" : undefined}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => event.stopPropagation()}
      onKeyDown={onKeyDown}
      ref={room}
    >
      <header>
        <div>
          <h2 id={`${id}-title`}>{title}</h2>
          {about ? <p id={`${id}-about`}>{about}</p> : null}
        </div>
        <button aria-label="Close" className="eo-button eo-square" onClick={close} type="button">
          <Icon name="cross" />
        </button>
      </header>
      {/* No form: Enter in a field would send it. */}
      <div className="eo-dialog-body">{children}</div>
      <footer>{footer}</footer>
    </dialog>
  );
}

interface DoneByProps {
  /** What the button says. */
  does: string;
  icon: IconName;
  /** Ends or repeats work. */
  grave?: boolean | undefined;
  /** It cannot be done as it is; the dialog says why. */
  barred?: boolean;
  sending: { busy: boolean; again: (() => void) | undefined };
  send: () => void;
  close: () => void;
}

/** The footer of a dialog: the button that does it, and by which keys that goes. */
export function DoneBy({ does, icon, grave = false, barred = false, sending, send, close }: DoneByProps) {
  return (
    <>
      <small className="eo-quiet eo-grow eo-ctrl">
        <kbd>Ctrl</kbd> <kbd>Enter</kbd> does it
      </small>
      <button className="eo-button" onClick={close} type="button">
        Close
      </button>
      <button
        aria-disabled={sending.busy || (barred && !sending.again)}
        className="eo-button eo-primary"
        data-tone={grave ? "failed" : undefined}
        onClick={send}
        type="button"
      >
        <Icon name={icon} />
        {sending.busy ? "Being done …" : sending.again ? `${does} (ask again)` : does}
      </button>
    </>
  );
}

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  mistake?: string | undefined;
  optional?: boolean;
  children: (ids: { id: string; "aria-describedby": string | undefined; "aria-invalid": true | undefined }) => ReactNode;
}

/** A field with its label, what it means, and what is wrong with what stands in it. */
export function Field({ label, hint, mistake, optional = false, children }: FieldProps) {
  const id = useId();
  const described = [hint ? `${id}-hint` : "", mistake ? `${id}-mistake` : ""].filter(Boolean).join(" ") || undefined;
  return (
    <div className="eo-field" data-wrong={mistake ? "" : undefined}>
      <label htmlFor={id}>
        {label}
        {optional ? <span className="eo-quiet"> · optional</span> : null}
      </label>
      {children({ id, "aria-describedby": described, "aria-invalid": mistake ? true : undefined })}
      {hint ? (
        <small id={`${id}-hint`}>{hint}</small>
      ) : null}
      {mistake ? (
        <small className="eo-mistake" id={`${id}-mistake`} role="alert">
          <Icon name="alert" size={12} /> {mistake}
        </small>
      ) : null}
    </div>
  );
}

/** Several fields that belong together. */
export function Group({ legend, hint, mistake, children }: { legend: ReactNode; hint?: ReactNode; mistake?: string | undefined; children: ReactNode }) {
  const id = useId();
  return (
    <fieldset aria-describedby={mistake ? id : undefined} className="eo-group" data-wrong={mistake ? "" : undefined}>
      <legend>{legend}</legend>
      {hint ? <small>{hint}</small> : null}
      {children}
      {mistake ? (
        <small className="eo-mistake" id={id} role="alert">
          <Icon name="alert" size={12} /> {mistake}
        </small>
      ) : null}
    </fieldset>
  );
}

interface ReasonProps {
  value: string;
  set: (value: string) => void;
  mistake?: string | undefined;
}

/** Why: asked for of everything that a person does. */
export function Reason({ value, set, mistake }: ReasonProps) {
  return (
    <Field hint="It stands in the audit trail, with your name." label="Reason" mistake={mistake}>
      {(ids) => <textarea {...ids} className="eo-input" maxLength={1000} onChange={(event) => set(event.target.value)} required rows={2} value={value} />}
    </Field>
  );
}

/** What must be confirmed by its own. */
export function Confirm({ text, checked, set, mistake }: { text: string; checked: boolean; set: (on: boolean) => void; mistake: string | undefined }) {
  return (
    <div className="eo-confirm" data-wrong={mistake ? "" : undefined}>
      <label>
        <input aria-invalid={mistake ? true : undefined} checked={checked} onChange={(event) => set(event.target.checked)} type="checkbox" />
        <span>{text}</span>
      </label>
      {mistake ? (
        <small className="eo-mistake" role="alert">
          <Icon name="alert" size={12} /> {mistake}
        </small>
      ) : null}
    </div>
  );
}

/** What came of the last try, read aloud at once. */
export function Noticed({ notice }: { notice: { tone: "risk" | "failed"; text: string } | undefined }) {
  return notice ? (
    <p className="eo-note" data-tone={notice.tone} role="alert">
      <Icon name="alert" /> {notice.text}
    </p>
  ) : null;
}

/** Leads to the first field that something is wrong with, once that is drawn. */
export function focusMistake(room: HTMLElement | null): void {
  setTimeout(() => room?.querySelector<HTMLElement>("[data-wrong] :is(input, select, textarea)")?.focus());
}
