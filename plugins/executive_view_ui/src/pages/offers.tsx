import { lazy, Suspense, useEffect, useRef, useState } from "react";

import { useActions } from "../api/actions";
import { useMe } from "../api/queries";
import type { HeldJob, InstanceDetail, Node, Offer } from "../api/schema";
import { actionLook } from "../lib/acting";
import { holdOfJob } from "../lib/words";
import { Icon } from "../ui/icons";
import { At, Badge } from "../ui/parts";

const ActionDialog = lazy(() => import("./act"));

export interface Acting {
  /** Of the instance as a whole, and of each step; nothing for who may not act. */
  instance: readonly Offer[];
  step: (id: string) => readonly Offer[];
  /** How the holds of a step's jobs stand that were handed over. */
  held: (id: string) => readonly HeldJob[];
  open: (offer: Offer, node: Node | null) => void;
  dialog: React.ReactNode;
}

/** What the user may do with an instance, and the dialog for what they chose. */
export function useActing(data: InstanceDetail | undefined): Acting {
  const [chosen, setChosen] = useState<{ offer: Offer; node: Node | null } | undefined>();
  const me = useMe();
  const row = data?.instance;
  const mayAct = me.data?.streams.some(({ dag_id: id, may_act: may }) => may && id === row?.dag_id) ?? false;
  const asked = useActions(row?.dag_id ?? "", row?.run_id ?? "", row?.changed_at ?? null, mayAct && data?.gone === false);
  const told = mayAct && asked.data?.may_act ? asked.data : undefined;
  const close = () => setChosen(undefined);
  return {
    instance: told?.instance ?? [],
    step: (id) => told?.steps[id] ?? [],
    held: (id) => told?.held_jobs?.[id] ?? [],
    open: (offer, node) => setChosen({ offer, node }),
    dialog:
      chosen && data ? (
        <Suspense fallback={null}>
          <ActionDialog close={close} data={data} node={chosen.node} offer={chosen.offer} />
        </Suspense>
      ) : null,
  };
}

function ActionButton({ offer, open }: { offer: Offer; open: () => void }) {
  const look = actionLook(offer.action);
  return (
    <button aria-haspopup="dialog" className="eo-button" data-grave={look.grave ? "" : undefined} onClick={open} title={look.about} type="button">
      <Icon name={look.icon} />
      {look.verb}
    </button>
  );
}

const FIRST: readonly string[] = ["acknowledge", "retry", "release", "hold"];
const MOST = 3;

/** At the head of an instance: what is done most as buttons, the rest behind one. */
export function InstanceOffers({ acting }: { acting: Acting }) {
  const allowed = acting.instance.filter((offer) => offer.allowed);
  if (acting.instance.length === 0) {
    return null;
  }
  const first = FIRST.flatMap((name) => allowed.filter(({ action }) => action === name)).slice(0, MOST);
  const rest = [...allowed.filter((offer) => !first.includes(offer)), ...acting.instance.filter((offer) => !offer.allowed)];
  return (
    <div aria-label="Actions" className="eo-actions" role="group">
      {first.map((offer) => (
        <ActionButton key={offer.action} offer={offer} open={() => acting.open(offer, null)} />
      ))}
      {rest.length > 0 ? <More offers={rest} open={(offer) => acting.open(offer, null)} /> : null}
    </div>
  );
}

/** What else can be done, with what it is for; and what cannot, with why. */
function More({ offers, open }: { offers: readonly Offer[]; open: (offer: Offer) => void }) {
  const [shown, setShown] = useState(false);
  const room = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!shown) {
      return undefined;
    }
    room.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const outside = (event: PointerEvent) => {
      if (!room.current?.contains(event.target as globalThis.Node)) {
        setShown(false);
      }
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [shown]);
  const hide = () => {
    setShown(false);
    button.current?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const items = [...(room.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const here = items.indexOf(document.activeElement as HTMLElement);
    const next: Record<string, number> = { ArrowDown: here + 1, ArrowUp: here - 1 + items.length, Home: 0, End: items.length - 1 };
    const to = next[event.key];
    if (!shown) {
      return;
    }
    if (event.key === "Escape") {
      event.stopPropagation();
      hide();
    } else if (event.key === "Tab") {
      setShown(false);
    } else if (to !== undefined) {
      event.preventDefault();
      items[to % items.length]?.focus();
    }
  };
  return (
    <div className="eo-filter" onKeyDown={onKeyDown} ref={room}>
      <button aria-expanded={shown} aria-haspopup="menu" className="eo-button" onClick={() => setShown(!shown)} ref={button} type="button">
        <Icon name="more" />
        More
      </button>
      {shown ? (
        <ul aria-label="More actions" className="eo-menu eo-menu-end" role="menu">
          {offers.map((offer) => {
            const look = actionLook(offer.action);
            return (
              <li key={offer.action} role="none">
                <button
                  aria-disabled={offer.allowed ? undefined : true}
                  aria-haspopup="dialog"
                  onClick={() => {
                    if (offer.allowed) {
                      hide();
                      open(offer);
                    }
                  }}
                  role="menuitem"
                  tabIndex={-1}
                  type="button"
                >
                  <Icon name={look.icon} />
                  <span>
                    {look.verb}
                    <small>{offer.allowed ? look.about : offer.why_not}</small>
                  </span>
                </button>
              </li>
            );
          })}
        </ul>
      ) : null}
    </div>
  );
}

/** In the room of a step: what can be done with it, and why the rest cannot. */
export function StepOffers({ acting, node }: { acting: Acting; node: Node }) {
  const offers = acting.step(node.id);
  const allowed = offers.filter((offer) => offer.allowed);
  const not = offers.filter((offer) => !offer.allowed);
  if (offers.length === 0) {
    return null;
  }
  return (
    <section aria-label={`Actions on ${node.title}`} className="eo-step-actions">
      {allowed.length > 0 ? (
        <div className="eo-actions" role="group">
          {allowed.map((offer) => (
            <ActionButton key={offer.action} offer={offer} open={() => acting.open(offer, node)} />
          ))}
        </div>
      ) : null}
      {not.length > 0 ? (
        <details>
          <summary>{allowed.length > 0 ? "What cannot be done now" : "Nothing can be done with it now"}</summary>
          <ul className="eo-not">
            {not.map((offer) => (
              <li key={offer.action}>
                <b>{actionLook(offer.action).verb}</b> {offer.why_not}
              </li>
            ))}
          </ul>
        </details>
      ) : null}
    </section>
  );
}

/** In the room of a step: what became of the holds of its jobs that are out there, in the words of who has them. */
export function HeldJobs({ jobs }: { jobs: readonly HeldJob[] }) {
  if (jobs.length === 0) {
    return null;
  }
  return (
    <section aria-label="Hold of its remote job">
      <h3>Hold over there</h3>
      <ul className="eo-held-jobs">
        {jobs.map((job) => (
          <li key={job.map_index}>
            <Badge look={holdOfJob(job)} /> <At value={job.at} />
            <small>
              {job.map_index >= 0 ? `Item ${job.map_index + 1}, ` : ""}
              {job.job}: {job.text}
            </small>
          </li>
        ))}
      </ul>
    </section>
  );
}
