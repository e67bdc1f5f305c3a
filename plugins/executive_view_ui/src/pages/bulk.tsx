import { useState } from "react";

import type { Action, ActionAsked } from "../api/actions";
import { askBulk, useCount, type BulkFilter } from "../api/bulks";
import { useFacets } from "../api/queries";
import type { Bulk, InstanceRow } from "../api/schema";
import { useSending } from "../api/sending";
import { ACTIONS, asked as askedFor, NO_REASON_YET, NOTHING_TYPED, reasonMistake, type Mistakes, type Typed } from "../lib/acting";
import { count } from "../lib/format";
import { sentence } from "../lib/words";
import { Deed } from "../ui/deed";
import { Confirm, Field, Group, Reason } from "../ui/dialog";
import { Until, When } from "./fields";

const WHOLE: readonly Action[] = ["acknowledge", "unacknowledge", "hold", "release", "retry", "cancel", "due", "priority"];
const STEP: readonly Action[] = ["hold", "release", "retry", "restart", "skip", "cancel"];
const NEEDS: Partial<Record<Action, ("until" | "due_at" | "priority")[]>> = { hold: ["until"], due: ["due_at"], priority: ["priority"] };
interface Props {
  action: Action;
  /** Those that are selected; none: all that fit. */
  rows: readonly InstanceRow[];
  filter: BulkFilter;
  total: number;
  close: () => void;
  /** The server has begun. */
  begun: (bulk: Bulk) => void;
}

/** The same on many instances: those that are selected, or all that fit the filter. The server carries it out. */
export default function BulkDialog({ action: first, rows, filter, total, close, begun }: Props) {
  const [action, setAction] = useState<Action>(first);
  const [all, setAll] = useState(rows.length === 0);
  const [step, setStep] = useState("");
  const [typed, setTyped] = useState<Typed>({ ...NOTHING_TYPED, reason: first === "acknowledge" ? "seen" : "" });
  const [sure, setSure] = useState(false);
  const facets = useFacets();
  const streams = new Set(all ? filter.stream : rows.map(({ dag_id: id }) => id));
  const steps = streams.size === 1 ? (facets.data?.steps ?? []).filter(({ dag_id: id }) => streams.has(id)) : [];
  const { about, grave, icon, verb, does = verb } = ACTIONS[action];
  const { asked, mistakes } = askedFor({ action, allowed: true, needs: NEEDS[action] ?? [] }, step || null, typed);
  const which: BulkFilter = all ? filter : { id: rows.map(({ id }) => id) };
  const ready = Object.keys(mistakes).length === 0;
  const counted = useCount(which, { ...asked, reason: NO_REASON_YET }, ready);
  const many = ready ? counted.data?.may_act : undefined;
  const sending = useSending({
    call: (id, wish: { asked: ActionAsked; filter: BulkFilter }) => askBulk(id, wish.filter, wish.asked, false),
    done: begun,
  });
  const wrong: Mistakes = { ...mistakes };
  if (reasonMistake(typed.reason)) {
    wrong["reason"] = reasonMistake(typed.reason);
  }
  if ((many ?? 0) > 1 && !sure) {
    wrong["sure"] = "To be confirmed.";
  }
  /** It is another wish than the last that was sent, and another than was confirmed. */
  const change = (what: () => void) => {
    sending.forget();
    setSure(false);
    what();
  };
  const set = (changes: Partial<Typed>) => change(() => setTyped((now) => ({ ...now, ...changes })));
  const choose = (chosen: string) =>
    change(() => {
      setStep(chosen);
      if (!(chosen ? STEP : WHOLE).includes(action)) {
        setAction("hold");
      }
    });
  return (
    <Deed
      about={about}
      barred={many === 0}
      close={close}
      does={`${does}${many === undefined ? "" : `: ${count(many)}`}`}
      grave={grave}
      icon={icon}
      sending={sending}
      title={`${verb}: many instances`}
      wish={() => (many ? { asked, filter: which } : undefined)}
      wrong={wrong}
    >
      {(mistake) => (
        <>
          <Group legend="On which">
            {rows.length > 0 ? (
              <label className="eo-choice">
                <input checked={!all} name="which" onChange={() => change(() => setAll(false))} type="radio" />
                <span>
                  {rows.length === 1 ? "the one that is selected" : `the ${count(rows.length)} that are selected`} <small>· {told(rows)}</small>
                </span>
              </label>
            ) : null}
            <label className="eo-choice">
              <input checked={all} name="which" onChange={() => change(() => setAll(true))} type="radio" />
              <span>
                all {count(total)} that fit the filter <small>· {filtered(filter)}</small>
              </span>
            </label>
          </Group>
          <div className="eo-pairs">
            <Field label="What">
              {(ids) => (
                <select {...ids} className="eo-input" onChange={(event) => change(() => setAction(event.target.value as Action))} value={action}>
                  {(step ? STEP : WHOLE).map((name) => (
                    <option key={name} value={name}>
                      {ACTIONS[name].verb}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            {steps.length > 0 ? (
              <Field label="Of">
                {(ids) => (
                  <select {...ids} className="eo-input" onChange={(event) => choose(event.target.value)} value={step}>
                    <option value="">the instance as a whole</option>
                    {steps.map(({ id, title }) => (
                      <option key={id} value={id}>
                        {title}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
            ) : null}
          </div>
          {action === "hold" ? <Until mistake={mistake("until")} set={(until) => set({ until })} value={typed.until} /> : null}
          {action === "due" ? <When label="Due" mistake={mistake("due_at")} set={(dueAt) => set({ dueAt })} value={typed.dueAt} /> : null}
          {action === "priority" ? (
            <Field hint="More goes first." label="Priority" mistake={mistake("priority")}>
              {(ids) => <input {...ids} className="eo-input eo-short" inputMode="numeric" onChange={(event) => set({ priority: event.target.value })} value={typed.priority} />}
            </Field>
          ) : null}
          <section className="eo-foreseen">
            <h3>On how many</h3>
            <p className="eo-foreseen-sentence" role="status">
              {!ready ? "It is counted once the fields above are filled in." : counted.data ? countedText(counted.data) : counted.error instanceof Error ? counted.error.message : "Being counted …"}
            </p>
            <small>
              It is decided for each of them by itself: one where it cannot be done, or that asks for a confirmation of its own, is refused and listed, and the others go on.
            </small>
          </section>
          {(many ?? 0) > 1 ? <Confirm checked={sure} mistake={mistake("sure")} set={setSure} text={`Yes, ${does.toLowerCase()}: ${count(many)} instances`} /> : null}
          <Reason
            mistake={mistake("reason")}
            set={(reason) => {
              // Why it is done changes nothing of what was confirmed.
              sending.forget();
              setTyped((now) => ({ ...now, reason }));
            }}
            value={typed.reason}
          />
        </>
      )}
    </Deed>
  );
}

const told = (rows: readonly InstanceRow[]): string => {
  const some = rows.slice(0, 4).map(({ key }) => key);
  return rows.length > some.length ? `${some.join(", ")} and ${rows.length - some.length} more` : some.join(", ");
};

const filtered = (filter: object): string =>
  Object.entries(filter)
    .map(([name, value]) => (value === true ? sentence(name).toLowerCase() : `${sentence(name === "q" ? "key" : name).toLowerCase()} ${Array.isArray(value) ? value.join(" or ") : String(value)}`))
    .join(", ") || "everything";

const countedText = ({ matching, may_act: may }: Bulk): string =>
  may === matching
    ? `It concerns ${count(matching)} ${matching === 1 ? "instance" : "instances"}.`
    : `It concerns ${count(matching)} ${matching === 1 ? "instance" : "instances"}; you may act on ${count(may)} of them, and the others are left alone.`;
