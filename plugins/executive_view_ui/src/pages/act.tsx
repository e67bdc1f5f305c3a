import { useId, useState } from "react";

import { act, usePreview, type ActionAsked } from "../api/actions";
import { useStream } from "../api/queries";
import { useSending } from "../api/sending";
import type { ActionPreview, Effect, InstanceDetail, Node, Offer } from "../api/schema";
import { actionLook, asked, effectLook, NO_REASON_YET, NOTHING_TYPED, reasonMistake, type Mistakes, type ParamField, type Typed } from "../lib/acting";
import { between, delta, moment } from "../lib/format";
import { Deed } from "../ui/deed";
import { Confirm, Reason } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { At, Badge } from "../ui/parts";
import { say } from "../ui/told";
import { Fields } from "./fields";

interface Props {
  data: InstanceDetail;
  /** The step that it is about; null: the instance as a whole. */
  node: Node | null;
  offer: Offer;
  close: () => void;
}

/** Says what an action would do, asks why, and does it: once, however often one presses. */
export default function ActionDialog({ data, node, offer, close }: Props) {
  const row = data.instance;
  const { about, grave, icon, title, verb, does = verb } = actionLook(offer.action);
  const params = useParams(data, offer);
  const [typed, setTyped] = useState<Typed>(() => begin(data, offer));
  const [confirmed, setConfirmed] = useState<readonly string[]>([]);
  const [look, setLook] = useState(0);
  const { asked: wish, mistakes } = asked(offer, node?.id ?? null, typed, params);
  const preview = usePreview(row.dag_id, row.run_id, Object.keys(mistakes).length === 0 ? { ...wish, reason: NO_REASON_YET } : undefined, look);
  const told = Object.keys(mistakes).length === 0 ? preview.data : undefined;
  const sending = useSending({
    call: (id, { version, ...said }: ActionAsked & { version: string }) => act(row.dag_id, row.run_id, id, version, said),
    same: ({ version: _seen, ...said }) => said,
    done: ({ replayed, sentence }) => {
      say(replayed ? `It had been done already, and was not done a second time: ${sentence}` : sentence);
      close();
    },
    faster: () => {
      // What was confirmed was confirmed of how it was.
      setConfirmed([]);
      setLook((now) => now + 1);
    },
  });

  const wrong: Mistakes = { ...mistakes };
  const why = reasonMistake(typed.reason);
  if (why) {
    wrong["reason"] = why;
  }
  for (const { token } of told?.confirmations ?? []) {
    if (!confirmed.includes(token)) {
      wrong[`confirm.${token}`] = "To be confirmed.";
    }
  }
  const set = (changes: Partial<Typed>) => {
    sending.forget();
    setTyped((now) => ({ ...now, ...changes }));
  };
  return (
    <Deed
      about={
        <>
          {about} {node ? <>Instance {row.key}, {row.stream}.</> : row.stream}
        </>
      }
      barred={told?.allowed === false}
      close={close}
      does={does}
      grave={grave}
      icon={icon}
      sending={sending}
      title={
        <>
          {title} “{node?.title ?? row.key}”
        </>
      }
      wish={() =>
        told?.allowed ? { ...wish, ...(told.confirmations.length > 0 ? { confirm: told.confirmations.map(({ token }) => token) } : {}), version: told.version } : undefined
      }
      wrong={wrong}
    >
      {(mistake) => (
        <>
          <Fields data={data} mistake={mistake} node={node} offer={offer} params={params} set={set} typed={typed} />
          <Foreseen busy={preview.isFetching && !told} error={preview.error} preview={told} retry={() => void preview.refetch()} />
          {told?.allowed
            ? told.confirmations.map(({ token, text }) => (
                <Confirm
                  checked={confirmed.includes(token)}
                  key={token}
                  mistake={mistake(`confirm.${token}`)}
                  set={(on) => setConfirmed((now) => (on ? [...now, token] : now.filter((one) => one !== token)))}
                  text={text}
                />
              ))
            : null}
          <Reason mistake={mistake("reason")} set={(reason) => set({ reason })} value={typed.reason} />
        </>
      )}
    </Deed>
  );
}

/** What the fields hold before anybody types. */
function begin(data: InstanceDetail, offer: Offer): Typed {
  return {
    ...NOTHING_TYPED,
    reason: offer.action === "acknowledge" ? "seen" : "",
    dueAt: data.instance.due_at ?? undefined,
    targets: [],
  };
}

/** The params that can be changed, as the stream declares them. */
function useParams(data: InstanceDetail, offer: Offer): readonly ParamField[] {
  const wanted = offer.needs?.includes("params") ?? false;
  const stream = useStream(data.instance.dag_id, wanted);
  if (!wanted) {
    return [];
  }
  const declared = new Map((stream.data?.params ?? []).map((param) => [param.name, param]));
  return Object.entries(data.params).map(([name, now]) => {
    const param = declared.get(name);
    const type = typeof now === "string" ? "string" : typeof now === "boolean" ? "boolean" : typeof now === "number" ? (param?.type === "integer" ? "integer" : "number") : "json";
    return { name, title: param?.title ?? name, type, description: param?.description ?? "", choices: param?.choices ?? [], now };
  });
}

/** What would happen, from the server's mouth: in a sentence, step by step, and for the due time. */
function Foreseen({ preview, busy, error, retry }: { preview: ActionPreview | undefined; busy: boolean; error: unknown; retry: () => void }) {
  const id = useId();
  return (
    <section aria-busy={busy || undefined} aria-labelledby={id} className="eo-foreseen" data-tone={preview?.allowed === false ? "failed" : undefined}>
      <h3 id={id}>What would happen</h3>
      <div role="status">
        {preview ? (
          preview.allowed ? (
            <p className="eo-foreseen-sentence">{preview.sentence}</p>
          ) : (
            preview.refusals.map((refusal) => (
              <p className="eo-refusal" key={refusal}>
                <Icon name="cross" /> {refusal}
              </p>
            ))
          )
        ) : error ? (
          <p className="eo-refusal">
            <Icon name="alert" /> {error instanceof Error ? error.message : String(error)}{" "}
            <button className="eo-text" onClick={retry} type="button">
              Ask again
            </button>
          </p>
        ) : (
          <p className="eo-quiet">{busy ? "Being looked up …" : "It is told here once the fields above are filled in."}</p>
        )}
      </div>
      {preview?.allowed ? <Consequences preview={preview} /> : null}
    </section>
  );
}

function Consequences({ preview }: { preview: ActionPreview }) {
  return (
    <>
      {preview.effects.length > 0 ? (
        <ul className="eo-effects">
          {preview.effects.map((effect, index) => (
            <EffectLine effect={effect} key={index} />
          ))}
        </ul>
      ) : null}
      {preview.cannot_be_undone.length > 0 ? (
        <div className="eo-warned" data-tone="failed">
          <h4>
            <Icon name="alert" /> Cannot be undone
          </h4>
          <ul>
            {preview.cannot_be_undone.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </div>
      ) : null}
      {preview.compensations.length > 0 ? (
        <div className="eo-warned" data-tone="risk">
          <h4>
            <Icon name="undo" /> The stream itself would undo
          </h4>
          <ul>
            {preview.compensations.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </div>
      ) : null}
      <Outlook preview={preview} />
    </>
  );
}

function EffectLine({ effect }: { effect: Effect }) {
  const look = effectLook(effect.what);
  const item = effect.map_index ?? -1;
  return (
    <li data-tone={look.tone}>
      <Icon name={look.icon} />
      <span>
        {effect.step ? <b>{effect.step.title}</b> : <b>The instance</b>}
        {item >= 0 ? ` (item ${item + 1})` : ""} <span className="eo-what">{look.text}</span>
        <small>
          {effect.text}
          {effect.job && !effect.text.includes(effect.job) ? ` · ${effect.job}` : ""}
        </small>
      </span>
    </li>
  );
}

/** The forecast as it is and as it would be, against the due time. */
function Outlook({ preview }: { preview: ActionPreview }) {
  const { forecast_before: before, forecast_after: after, due_at: due, will_be_late: late } = preview;
  if (!before && !after && !due) {
    return null;
  }
  const moved = between(before?.p50, after?.p50);
  const foretold = before?.p50 || after?.p50;
  return (
    <dl className="eo-outlook">
      {foretold ? (
        <>
          <div>
            <dt>Expected now</dt>
            <dd>{before?.p50 ? moment(before.p50) : <span className="eo-quiet">not known</span>}</dd>
          </div>
          <div>
            <dt>Expected then</dt>
            <dd>
              {after?.p50 ? moment(after.p50) : <span className="eo-quiet">not known</span>}
              {moved !== null && Math.abs(moved) >= 30 ? (
                <span className="eo-delta" data-tone={moved > 0 ? "risk" : "ok"}>
                  {delta(moved)}
                </span>
              ) : null}
              {after?.p50 ? <small>from {after.instances} instances</small> : null}
            </dd>
          </div>
        </>
      ) : null}
      <div>
        <dt>Due</dt>
        <dd>
          <At value={due} />
          {late === null ? null : <Badge look={late ? { tone: "late", icon: "late", text: "likely late" } : { tone: "ok", icon: "check", text: "likely in time" }} plain />}
        </dd>
      </div>
    </dl>
  );
}
