import type { InstanceDetail, Node, Offer } from "../api/schema";
import { typedOf, type ParamField, type Typed } from "../lib/acting";
import { moment } from "../lib/format";
import { fromField, nextAt, toField, zoneName } from "../lib/zoned";
import { told } from "../lib/words";
import { Field, Group } from "../ui/dialog";

interface Props {
  data: InstanceDetail;
  node: Node | null;
  offer: Offer;
  params: readonly ParamField[];
  typed: Typed;
  set: (changes: Partial<Typed>) => void;
  mistake: Mistaken;
}

/** By field, what is wrong with what stands in it. */
type Mistaken = (field: string) => string | undefined;

/** What an action needs to know beside the reason. */
export function Fields({ data, node, offer, params, typed, set, mistake }: Props) {
  const needs = new Set(offer.needs);
  const items = node?.run?.items?.total ?? 0;
  const job = node?.run?.job;
  const open = job && (job.state === "submitted" || job.state === "intent") && !job.verdict;
  return (
    <>
      {items > 0 ? (
        <Field label="Which items" hint={`The step is done for each of ${items} items.`}>
          {(ids) => (
            <select {...ids} className="eo-input" onChange={(event) => set({ item: event.target.value })} value={typed.item}>
              <option value="">all of them</option>
              {Array.from({ length: Math.min(items, 1000) }, (_, index) => (
                <option key={index} value={index}>
                  item {index + 1}
                </option>
              ))}
            </select>
          )}
        </Field>
      ) : null}
      {needs.has("until") ? <Until mistake={mistake("until")} set={(until) => set({ until })} value={typed.until} /> : null}
      {needs.has("targets") ? <Targets data={data} mistake={mistake("targets")} node={node} offer={offer} set={(targets) => set({ targets })} value={typed.targets} /> : null}
      {needs.has("outputs") ? <Outputs mistake={mistake} offer={offer} set={(outputs) => set({ outputs })} value={typed.outputs} /> : null}
      {needs.has("params") ? <Params fields={params} mistake={mistake} set={(changed) => set({ params: changed })} value={typed.params} /> : null}
      {needs.has("due_at") ? (
        <When
          hint={data.instance.due_at ? `It is due ${moment(data.instance.due_at)} now.` : "It has no due time now."}
          label="Due"
          mistake={mistake("due_at")}
          set={(dueAt) => set({ dueAt })}
          value={typed.dueAt}
        />
      ) : null}
      {needs.has("priority") ? (
        <Field hint="More goes first. It counts among all that waits for the same slots." label="Priority" mistake={mistake("priority")}>
          {(ids) => <input {...ids} className="eo-input eo-short" inputMode="numeric" onChange={(event) => set({ priority: event.target.value })} value={typed.priority} />}
        </Field>
      ) : null}
      {open && (offer.action === "skip" || offer.action === "complete") ? (
        <Group legend={`Its job${job.job_id ? ` ${job.job_id}` : ""} is out there`}>
          <Radio checked={!typed.leaveJob} name="job" onChange={() => set({ leaveJob: false })}>
            End it first, and wait until that is proven
          </Radio>
          <Radio checked={typed.leaveJob} name="job" onChange={() => set({ leaveJob: true })}>
            Leave it alone: nobody waits for it any more
          </Radio>
        </Group>
      ) : null}
    </>
  );
}

function Radio({ name, checked, onChange, children }: { name: string; checked: boolean; onChange: () => void; children: React.ReactNode }) {
  return (
    <label className="eo-choice">
      <input checked={checked} name={name} onChange={onChange} type="radio" />
      <span>{children}</span>
    </label>
  );
}

/** Until when something is held; undefined: until somebody releases it; "" while no moment is chosen yet. */
export function Until({ value, set, mistake }: { value: string | undefined; set: (value: string | undefined) => void; mistake?: string | undefined }) {
  return (
    <Group legend="Until">
      <Radio checked={value === undefined} name="until" onChange={() => set(undefined)}>
        somebody releases it
      </Radio>
      <Radio checked={value !== undefined} name="until" onChange={() => set("")}>
        a moment, at which it goes on by itself
      </Radio>
      {value === undefined ? null : (
        <When label="It goes on at" mistake={mistake} quick set={(at) => set(at ?? "")} value={value} />
      )}
    </Group>
  );
}

/** A moment, typed in the zone that was chosen in the host. */
export function When({ label, hint, value, set, mistake, quick = false }: { label: string; hint?: string; value: string | undefined; set: (value: string | undefined) => void; mistake?: string | undefined; quick?: boolean }) {
  const soon = (hours: number) => new Date(Math.ceil((Date.now() + hours * 3_600_000) / 300_000) * 300_000);
  const shortcuts: readonly (readonly [string, Date])[] = [
    ["in an hour", soon(1)],
    ["in 4 hours", soon(4)],
    ["next 06:00", nextAt(6)],
  ];
  return (
    <Field hint={`${hint ? `${hint} ` : ""}Times are in ${zoneName()}.`} label={label} mistake={mistake}>
      {(ids) => (
        <span className="eo-when">
          <input
            {...ids}
            className="eo-input"
            onChange={(event) => set(fromField(event.target.value))}
            type="datetime-local"
            value={value ? toField(value) : ""}
          />
          {quick
            ? shortcuts.map(([text, at]) => (
                <button className="eo-button" key={text} onClick={() => set(at.toISOString().replace(".000Z", "Z"))} type="button">
                  {text}
                </button>
              ))
            : null}
        </span>
      )}
    </Field>
  );
}

function Targets({ data, node, offer, value, set, mistake }: { data: InstanceDetail; node: Node | null; offer: Offer; value: readonly string[]; set: (value: string[]) => void; mistake: string | undefined }) {
  const decision = data.decisions.find(({ step }) => step.id === node?.id);
  return (
    <Group hint={decision ? "Choose the steps that are to run." : "Choose the steps that are to run, whatever the rules say when they are asked."} legend="It goes to" mistake={mistake}>
      {(offer.targets ?? []).map(({ id, title }) => (
        <label className="eo-choice" key={id}>
          <input checked={value.includes(id)} onChange={(event) => set(event.target.checked ? [...value, id] : value.filter((one) => one !== id))} type="checkbox" />
          <span>
            {title}
            {decision?.chosen.includes(id) ? <small> · as it was decided</small> : null}
          </span>
        </label>
      ))}
    </Group>
  );
}

const TYPES: Record<string, string> = { string: "text", integer: "whole number", number: "number", boolean: "yes or no", json: "JSON" };

function TypedField({ type, ids, value, set, choices = [] }: { type: string; ids: object; value: string; set: (value: string) => void; choices?: readonly unknown[] }) {
  if (choices.length > 0) {
    return (
      <select {...ids} className="eo-input" onChange={(event) => set(event.target.value)} value={value}>
        {choices.map((choice) => (
          <option key={typedOf(type, choice)} value={typedOf(type, choice)}>
            {told(choice)}
          </option>
        ))}
      </select>
    );
  }
  if (type === "boolean") {
    return (
      <select {...ids} className="eo-input" onChange={(event) => set(event.target.value)} value={value}>
        <option value="">–</option>
        <option value="true">yes</option>
        <option value="false">no</option>
      </select>
    );
  }
  return (
    <input
      {...ids}
      autoComplete="off"
      className="eo-input"
      inputMode={type === "integer" ? "numeric" : type === "number" ? "decimal" : "text"}
      onChange={(event) => set(event.target.value)}
      spellCheck={false}
      value={value}
    />
  );
}

/** What the step gives, typed as later steps and conditions read it. */
function Outputs({ offer, value, set, mistake }: { offer: Offer; value: Record<string, string>; set: (value: Record<string, string>) => void; mistake: Mistaken }) {
  const line = (name: string, type: string, optional: boolean) => (
    <Field hint={TYPES[type] ?? type} key={name} label={<code>{name}</code>} mistake={mistake(`outputs.${name}`)} optional={optional}>
      {(ids) => <TypedField ids={ids} set={(text) => set({ ...value, [name]: text })} type={type} value={value[name] ?? ""} />}
    </Field>
  );
  const [must, may] = [Object.entries(offer.outputs ?? {}), Object.entries(offer.optional_outputs ?? {})];
  if (must.length + may.length === 0) {
    return null;
  }
  return (
    <Group hint="Later steps and conditions read these as if the step had given them." legend="What it gives">
      <div className="eo-pairs">{must.map(([name, type]) => line(name, type, false))}</div>
      {may.length > 0 ? (
        <details open={may.some(([name]) => mistake(`outputs.${name}`))}>
          <summary>What it may give besides ({may.length})</summary>
          <div className="eo-pairs">{may.map(([name, type]) => line(name, type, true))}</div>
        </details>
      ) : null}
    </Group>
  );
}

function Params({ fields, value, set, mistake }: { fields: readonly ParamField[]; value: Record<string, string>; set: (value: Record<string, string>) => void; mistake: Mistaken }) {
  return (
    <Group hint="Steps that have begun keep what they were given." legend="Params" mistake={mistake("params")}>
      <div className="eo-pairs">
        {fields.map((field) => {
          const was = typedOf(field.type, field.now);
          const text = value[field.name] ?? was;
          const note = text === was ? (TYPES[field.type] ?? "") : `was ${told(field.now)}`;
          return (
            <Field hint={[field.description, note].filter(Boolean).join(" · ")} key={field.name} label={field.title} mistake={mistake(`params.${field.name}`)}>
              {(ids) => <TypedField choices={field.choices} ids={ids} set={(to) => set({ ...value, [field.name]: to })} type={field.type} value={text} />}
            </Field>
          );
        })}
      </div>
    </Group>
  );
}
