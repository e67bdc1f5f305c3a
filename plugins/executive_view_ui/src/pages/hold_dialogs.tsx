import { useState } from "react";

import { placeHold, releaseHold, scopeOf, SCOPES, type Scope } from "../api/holds";
import { useFacets, useMe } from "../api/queries";
import type { Facet, Hold } from "../api/schema";
import { useSending } from "../api/sending";
import { reasonMistake } from "../lib/acting";
import { moment } from "../lib/format";
import { Deed } from "../ui/deed";
import { Field, Group, Reason } from "../ui/dialog";
import { say } from "../ui/told";
import { Until } from "./fields";

/** Holds everything that has not begun of a stream, of a kind of system, or of one connection. */
export function HoldDialog({ stream, close }: { stream?: string | undefined; close: () => void }) {
  const me = useMe();
  const facets = useFacets();
  const choices: Record<Scope, readonly Facet[]> = {
    stream: (me.data?.streams ?? []).filter(({ may_act: may }) => may).map(({ dag_id: id, title }) => ({ id, title })),
    system: facets.data?.systems ?? [],
    connection: facets.data?.connections ?? [],
  };
  const [scope, setScope] = useState<Scope>(stream ? "stream" : "system");
  const [name, setName] = useState(stream ?? "");
  const [until, setUntil] = useState<string | undefined>();
  const [reason, setReason] = useState("");
  const sending = useSending({
    call: placeHold,
    done: (hold: Hold) => {
      say(`${hold.title} is held${hold.until ? ` until ${moment(hold.until)}` : ""}: nothing of it begins.`);
      close();
    },
  });
  /** What was typed is another wish than the last that was sent. */
  const change = (set: () => void) => {
    sending.forget();
    set();
  };
  const wrong = {
    name: name ? "" : "Choose what is to be held.",
    until: until === "" ? "Say until when, or choose to hold it until somebody releases it." : "",
    reason: reasonMistake(reason),
  };
  return (
    <Deed
      about="What has not begun does not begin, and takes no worker. What is at work goes on."
      close={close}
      does="Hold"
      icon="pause"
      sending={sending}
      title="Hold a stream, a system or a connection"
      wish={() => ({ scope, name, reason: reason.trim(), until: until ?? null })}
      wrong={wrong}
    >
      {(mistake) => (
        <>
          <Group legend="What is held">
            {SCOPES.map(([id, title, about]) => (
              <label className="eo-choice" key={id}>
                <input
                  checked={scope === id}
                  name="scope"
                  onChange={() =>
                    change(() => {
                      setScope(id);
                      setName(id === "stream" ? (stream ?? "") : "");
                    })
                  }
                  type="radio"
                />
                <span>
                  A {title} <small>· {about}</small>
                </span>
              </label>
            ))}
          </Group>
          <Field label={`A ${scopeOf(scope)}`} mistake={mistake("name")}>
            {(ids) => (
              <select {...ids} className="eo-input" onChange={(event) => change(() => setName(event.target.value))} value={name}>
                <option value="">–</option>
                {choices[scope].map(({ id, title }) => (
                  <option key={id} value={id}>
                    {title}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Until mistake={mistake("until")} set={(to) => change(() => setUntil(to))} value={until} />
          <Reason mistake={mistake("reason")} set={(to) => change(() => setReason(to))} value={reason} />
        </>
      )}
    </Deed>
  );
}

/** Ends a hold, and lets what it held go on. */
export function ReleaseDialog({ hold, close }: { hold: Hold; close: () => void }) {
  const [reason, setReason] = useState("");
  const sending = useSending({
    call: (id, why: string) => releaseHold(id, hold.id, why),
    done: () => {
      say(`${hold.title} is released: what it held goes on.`);
      close();
    },
  });
  return (
    <Deed
      about={`Held by ${hold.by}${hold.at ? ` since ${moment(hold.at)}` : ""}${hold.until ? `, until ${moment(hold.until)}` : ""}: ${hold.reason}`}
      close={close}
      does="Release"
      icon="play"
      sending={sending}
      title={<>Release “{hold.title}”</>}
      wish={() => reason.trim()}
      wrong={{ reason: reasonMistake(reason) }}
    >
      {(mistake) => (
        <>
          <p>
            {hold.held_steps === 0 ? "No step waits for it now." : `${hold.held_steps} ${hold.held_steps === 1 ? "step that waits" : "steps that wait"} for it go on at once, unless another hold keeps them.`}
          </p>
          <Reason
            mistake={mistake("reason")}
            set={(to) => {
              sending.forget();
              setReason(to);
            }}
            value={reason}
          />
        </>
      )}
    </Deed>
  );
}
