import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import { Link, useSearchParams } from "react-router-dom";

import type { Acknowledged, Forecast, Stack } from "../api/schema";
import { between, clock, count, delta, duration, exactly, moment, type Moment } from "../lib/format";
import { changed } from "../lib/view";
import type { Look } from "../lib/words";
import { Icon, type IconName } from "./icons";

/** A state: icon, text and colour. */
export function Badge({ look, text, plain }: { look: Look; text?: string; plain?: boolean }) {
  return (
    <span className={plain ? "eo-mark" : "eo-badge"} data-tone={look.tone}>
      <Icon name={look.icon} />
      {text ?? look.text}
    </span>
  );
}

/** A kind of system. */
export function StackTag({ stack }: { stack: Stack }) {
  return <span className="eo-stack">{stack.title}</span>;
}

/** A moment, with the exact one for who asks. */
export function At({ value }: { value: Moment }) {
  return value ? (
    <time dateTime={value} title={exactly(value)}>
      {moment(value)}
    </time>
  ) : (
    <span className="eo-quiet">–</span>
  );
}

/**
 * The expected end against the due time, and from how many instances it is told.
 *
 * `atLeast`: it waits for something of which nobody can know how long it takes, which counts as if it came at once.
 */
export function Expected({ forecast, due, atLeast = false }: { forecast: Forecast | null | undefined; due: Moment; atLeast?: boolean }) {
  if (!forecast) {
    return <span className="eo-quiet">–</span>;
  }
  const from = `from ${count(forecast.instances)} ${forecast.instances === 1 ? "instance" : "instances"}`;
  if (!forecast.enough || !forecast.p50) {
    return (
      <span className="eo-expected eo-quiet">
        <span>not enough history</span>
        <small>{forecast.instances === 0 ? "none has ended" : `only ${from.replace("from ", "")}`}</small>
      </span>
    );
  }
  const off = due ? between(due, forecast.p50) : null;
  return (
    <span className="eo-expected" title={`Half end by ${exactly(forecast.p50)}, nine of ten by ${exactly(forecast.p90)}; told ${from} that ended.`}>
      <span>
        {atLeast ? <span className="eo-quiet">not before </span> : null}
        {moment(forecast.p50)}
        {off === null ? null : (
          <span className="eo-delta" data-tone={off > 0 ? "late" : "ok"}>
            {delta(off)}
          </span>
        )}
      </span>
      <small>{from}</small>
    </span>
  );
}

export function Seen({ acknowledged }: { acknowledged: Acknowledged | null | undefined }) {
  return acknowledged ? (
    <span className="eo-mark" data-tone="ok" title={`Acknowledged by ${acknowledged.by}, ${exactly(acknowledged.at)}`}>
      <Icon name="check" />
      {acknowledged.by}
    </span>
  ) : (
    <span className="eo-quiet">–</span>
  );
}

/** How old the page is; old data stays in sight and says so. */
export function AsOf({ at, trouble }: { at: Moment; trouble?: string | undefined }) {
  return (
    <span className="eo-asof" data-tone={trouble ? "risk" : "ok"}>
      <span aria-hidden className="eo-pulse" />
      <span title={exactly(at)}>as of {clock(at)}</span>
      {/* Only what is wrong is announced, not each renewal. */}
      <span role="status">{trouble ? `· ${trouble}` : null}</span>
    </span>
  );
}

export interface Tab {
  id: string;
  title: string;
  count?: number | undefined;
}

/** Tabs whose choice is in the address. Arrow keys move between them. */
export function Tabs({ tabs, children }: { tabs: readonly Tab[]; children: (chosen: string) => ReactNode }) {
  const [params, setParams] = useSearchParams();
  const name = useId();
  const wanted = params.get("tab");
  const chosen = tabs.find((tab) => tab.id === wanted)?.id ?? tabs[0]?.id ?? "";
  const choose = (id: string) => setParams((now) => changed(now, { tab: id === tabs[0]?.id ? null : id }), { replace: true });
  const onKeyDown = (event: React.KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      const here = tabs.findIndex((tab) => tab.id === chosen);
      const next = tabs[(here + step + tabs.length) % tabs.length];
      if (next) {
        choose(next.id);
        document.getElementById(`${name}-${next.id}`)?.focus();
      }
    }
  };
  return (
    <>
      <div className="eo-tabs" onKeyDown={onKeyDown} role="tablist">
        {tabs.map((tab) => (
          <button
            aria-controls={`${name}-panel`}
            aria-selected={tab.id === chosen}
            id={`${name}-${tab.id}`}
            key={tab.id}
            onClick={() => choose(tab.id)}
            role="tab"
            tabIndex={tab.id === chosen ? 0 : -1}
            type="button"
          >
            {tab.title}
            {tab.count === undefined ? null : <span className="eo-count">{tab.count}</span>}
          </button>
        ))}
      </div>
      <div aria-labelledby={`${name}-${chosen}`} className="eo-tabpanel" id={`${name}-panel`} role="tabpanel">
        {children(chosen)}
      </div>
    </>
  );
}

export interface Choice {
  id: string;
  title: string;
}

/** A filter with many values, kept in the address under `name`. */
export function FilterMenu({ name, title, choices }: { name: string; title: string; choices: readonly Choice[] }) {
  const [params, setParams] = useSearchParams();
  const [open, setOpen] = useState(false);
  const [sought, setSought] = useState("");
  const room = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const chosen = params.getAll(name);

  useEffect(() => {
    if (!open) {
      return undefined;
    }
    const outside = (event: PointerEvent) => {
      if (!room.current?.contains(event.target as globalThis.Node)) {
        setOpen(false);
      }
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);

  if (choices.length === 0 && chosen.length === 0) {
    return null;
  }
  const unknown = chosen.filter((id) => !choices.some((choice) => choice.id === id)).map((id) => ({ id, title: id }));
  const all = [...choices, ...unknown];
  const shown = all.filter((choice) => choice.title.toLowerCase().includes(sought.toLowerCase()));
  const [only] = chosen;
  const label = chosen.length === 1 ? all.find((choice) => choice.id === only)?.title : `${chosen.length} chosen`;
  return (
    <div
      className="eo-filter"
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) {
          event.stopPropagation();
          setOpen(false);
          button.current?.focus();
        }
      }}
      ref={room}
    >
      <button
        aria-expanded={open}
        className="eo-button"
        data-on={chosen.length > 0}
        onClick={() => setOpen(!open)}
        ref={button}
        type="button"
      >
        {title}
        {chosen.length > 0 ? <b>{label}</b> : null}
        <Icon name="down" size={12} />
      </button>
      {open ? (
        <fieldset className="eo-menu">
          <legend className="eo-hidden">{title}</legend>
          {all.length > 8 ? (
            <input
              aria-label={`Find in ${title}`}
              autoFocus
              className="eo-input"
              onChange={(event) => setSought(event.target.value)}
              placeholder="Find"
              value={sought}
            />
          ) : null}
          <div className="eo-menu-list">
            {shown.map((choice) => (
              <label key={choice.id}>
                <input
                  checked={chosen.includes(choice.id)}
                  onChange={(event) =>
                    setParams(
                      (now) =>
                        changed(now, {
                          [name]: event.target.checked
                            ? [...now.getAll(name), choice.id]
                            : now.getAll(name).filter((id) => id !== choice.id),
                        }),
                      { replace: true },
                    )
                  }
                  type="checkbox"
                />
                {choice.title}
              </label>
            ))}
          </div>
          {chosen.length > 0 ? (
            <button className="eo-text" onClick={() => setParams((now) => changed(now, { [name]: null }), { replace: true })} type="button">
              Clear
            </button>
          ) : null}
        </fieldset>
      ) : null}
    </div>
  );
}

export function Action({ to, icon, children }: { to: string; icon: IconName; children: ReactNode }) {
  return (
    <Link className="eo-button" to={to}>
      <Icon name={icon} />
      {children}
    </Link>
  );
}

/** A file to download: by the browser, not by the host's router. */
export function Download({ href, children }: { href: string; children: ReactNode }) {
  return (
    <a className="eo-button" download href={href}>
      <Icon name="download" />
      {children}
    </a>
  );
}

/** A named value. */
export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="eo-fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export function Took({ from, to }: { from: Moment; to: Moment }) {
  const seconds = between(from, to);
  return <>{seconds === null ? "–" : duration(seconds)}</>;
}

/** A panel with a heading. */
export function Panel({ title, note, children, className = "" }: { title: string; note?: ReactNode; children: ReactNode; className?: string }) {
  const id = useId();
  return (
    <section aria-labelledby={id} className={`eo-panel ${className}`}>
      <header>
        <h2 id={id}>{title}</h2>
        {note ? <span className="eo-quiet">{note}</span> : null}
      </header>
      {children}
    </section>
  );
}

/** A table that may be wider than the window: it scrolls by itself, also by the keyboard. */
export function Scroll({ name, framed, children }: { name: string; framed?: boolean; children: ReactNode }) {
  return (
    <div aria-label={name} className={framed ? "eo-panel eo-scroll" : "eo-scroll"} role="region" tabIndex={0}>
      {children}
    </div>
  );
}

/** A filter that is on or off, kept in the address under `name`. */
export function Flag({ name, title, why }: { name: string; title: string; why: string }) {
  const [params, setParams] = useSearchParams();
  const on = params.get(name) === "true";
  return (
    <button
      aria-pressed={on}
      className="eo-button"
      data-on={on}
      onClick={() => setParams((now) => changed(now, { [name]: on ? null : true }), { replace: true })}
      title={why}
      type="button"
    >
      {title}
      {on ? <Icon name="check" size={12} /> : null}
    </button>
  );
}
