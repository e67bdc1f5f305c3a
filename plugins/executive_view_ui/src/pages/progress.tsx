import { useRef, useState } from "react";
import { Link } from "react-router-dom";

import { stopBulk, useBulk, useBulkResults, type Outcome } from "../api/bulks";
import type { Bulk, BulkResult } from "../api/schema";
import { useSending } from "../api/sending";
import { actionLook, reasonMistake } from "../lib/acting";
import { count } from "../lib/format";
import { paths } from "../lib/paths";
import type { Look } from "../lib/words";
import { Dialog, focusMistake, Noticed, Reason } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { At, Badge, Scroll } from "../ui/parts";
import { Shown, Skeleton } from "../ui/states";

const OUTCOMES: Record<Outcome, Look> = {
  open: { tone: "idle", icon: "clock", text: "To come" },
  done: { tone: "ok", icon: "check", text: "Done" },
  refused: { tone: "risk", icon: "stop", text: "Refused" },
  failed: { tone: "failed", icon: "cross", text: "Failed" },
};

interface ProgressProps {
  done: number;
  refused: number;
  failed: number;
  total: number;
  state: Bulk["state"];
}

/** How far it is, in a bar and in words. */
export function Progress({ done, refused, failed, total, state }: ProgressProps) {
  const over = done + refused + failed;
  const said = `${count(over)} of ${count(total)}${state === "stopped" ? ", stopped: what was done stays" : state === "done" ? ", all through" : ""}`;
  return (
    <div className="eo-progress">
      <div aria-label="How far it is" aria-valuemax={total} aria-valuemin={0} aria-valuenow={over} aria-valuetext={said} className="eo-progress-bar" role="progressbar">
        {(
          [
            ["ok", done],
            ["risk", refused],
            ["failed", failed],
          ] as const
        ).map(([tone, many]) => (
          <i data-tone={tone} key={tone} style={{ inlineSize: `${total > 0 ? (many / total) * 100 : 0}%` }} />
        ))}
      </div>
      <p>
        <b>{said}</b>
        <Badge look={OUTCOMES.done} plain text={`${count(done)} done`} />
        <Badge look={OUTCOMES.refused} plain text={`${count(refused)} refused`} />
        <Badge look={OUTCOMES.failed} plain text={`${count(failed)} failed`} />
      </p>
      <span className="eo-hidden" role="status">
        {state === "running" ? "" : said}
      </span>
    </div>
  );
}

/** What became of each instance. */
export function Results({ items }: { items: readonly BulkResult[] }) {
  return (
    <Scroll framed name="What became of each">
      <table className="eo-table">
        <thead>
          <tr>
            <th>Instance</th>
            <th>Outcome</th>
            <th>What came of it</th>
            <th>When</th>
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={`${item.dag_id}/${item.run_id}`}>
              <td className="eo-two">
                <Link to={paths.instance(item.dag_id, item.run_id)}>{item.key}</Link>
                <small>{item.stream}</small>
              </td>
              <td>
                <Badge look={OUTCOMES[item.outcome]} plain />
              </td>
              <td>{item.text}</td>
              <td>
                <At value={item.at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** An action on many instances that the server carries out: it goes on when one leaves, and is found again by its address. */
export default function BulkProgress({ id, close }: { id: string; close: () => void }) {
  const asked = useBulk(id);
  const bulk = asked.data;
  const [stopping, setStopping] = useState(false);
  return (
    <Dialog
      about={bulk ? `${bulk.reason} · asked by ${bulk.by}` : undefined}
      close={close}
      footer={
        <>
          <small className="eo-quiet eo-grow">{bulk?.state === "running" ? "It goes on when this is closed." : ""}</small>
          {bulk?.state === "running" && !stopping ? (
            <button className="eo-button" onClick={() => setStopping(true)} type="button">
              <Icon name="stop" />
              Stop …
            </button>
          ) : null}
          <button className="eo-button" onClick={close} type="button">
            Close
          </button>
        </>
      }
      title={bulk ? `${actionLook(bulk.action).verb}: ${count(bulk.total)} ${bulk.total === 1 ? "instance" : "instances"}` : "Action on many instances"}
      wide
    >
      <Shown asked={asked} missing="There is no such action on many instances" skeleton={<Skeleton rows={6} />}>
        {(data) => (
          <div className="eo-dialog-parts">
            <Progress done={data.done} failed={data.failed} refused={data.refused} state={data.state} total={data.total} />
            {stopping && data.state === "running" ? <Stop bulk={data} close={() => setStopping(false)} /> : null}
            <ResultPages bulk={data} />
          </div>
        )}
      </Shown>
    </Dialog>
  );
}

function Stop({ bulk, close }: { bulk: Bulk; close: () => void }) {
  const [reason, setReason] = useState("");
  const [tried, setTried] = useState(false);
  const body = useRef<HTMLDivElement>(null);
  const sending = useSending({ call: (id, why: string) => stopBulk(id, bulk.id, why), done: close });
  return (
    <div className="eo-foreseen" ref={body}>
      <p>What was done stays; what is to come is left alone.</p>
      <Noticed notice={sending.notice} />
      <Reason mistake={tried ? reasonMistake(reason) : undefined} set={setReason} value={reason} />
      <div className="eo-actions">
        <button
          aria-disabled={sending.busy}
          className="eo-button eo-primary"
          onClick={() => {
            setTried(true);
            if (reasonMistake(reason)) {
              focusMistake(body.current);
            } else {
              sending.send(reason.trim());
            }
          }}
          type="button"
        >
          <Icon name="stop" />
          Stop it
        </button>
        <button className="eo-button" onClick={close} type="button">
          Let it go on
        </button>
      </div>
    </div>
  );
}

function ResultPages({ bulk }: { bulk: Bulk }) {
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const [cursors, setCursors] = useState<readonly string[]>([""]);
  const asked = useBulkResults(bulk, outcome, cursors.at(-1) ?? "");
  return (
    <>
      <label className="eo-filters">
        Show{" "}
        <select
          className="eo-input"
          onChange={(event) => {
            setOutcome((event.target.value || null) as Outcome | null);
            setCursors([""]);
          }}
          value={outcome ?? ""}
        >
          <option value="">all</option>
          {(Object.keys(OUTCOMES) as Outcome[]).map((name) => (
            <option key={name} value={name}>
              {OUTCOMES[name].text.toLowerCase()}
            </option>
          ))}
        </select>
      </label>
      <Shown asked={asked} skeleton={<Skeleton rows={5} />}>
        {(data) => (
          <>
            {data.items.length === 0 ? <p className="eo-quiet">None.</p> : <Results items={data.items} />}
            {cursors.length > 1 || data.next_cursor ? (
              <p className="eo-actions">
                <button className="eo-button" disabled={cursors.length === 1} onClick={() => setCursors((now) => now.slice(0, -1))} type="button">
                  Before
                </button>
                <button className="eo-button" disabled={!data.next_cursor} onClick={() => setCursors((now) => [...now, data.next_cursor ?? ""])} type="button">
                  Next
                </button>
                <span className="eo-quiet">{count(data.total)} in all</span>
              </p>
            ) : null}
          </>
        )}
      </Shown>
    </>
  );
}
