import type { DecisionTold } from "../api/schema";
import { exactly } from "../lib/format";
import { titled, told } from "../lib/words";
import { Icon } from "./icons";
import { Badge, Scroll } from "./parts";

type Titles = ReadonlyMap<string, string>;

/** Who had it otherwise than the rules, and why; and why no rule could be asked. */
export function Otherwise({ decision, titles }: { decision: DecisionTold; titles: Titles }) {
  return (
    <>
      {decision.overridden ? (
        <p className="eo-note" data-tone="risk">
          <Icon name="person" /> {decision.overridden.by} had it otherwise: {decision.overridden.reason || "no reason was given"}. The rules would have
          taken {titled(decision.overridden.instead, titles) || "nothing"}.
        </p>
      ) : null}
      {decision.open_until ? (
        <p className="eo-note" data-tone="risk">
          <Icon name="clock" /> Only proposed: it goes on at {exactly(decision.open_until)}, unless somebody overrides it before.
        </p>
      ) : null}
      {decision.problem ? (
        <p className="eo-note" data-tone="failed">
          <Icon name="alert" /> {decision.problem}
        </p>
      ) : null}
    </>
  );
}

/** The values that it looked at. */
export function SeenValues({ decision }: { decision: DecisionTold }) {
  if (decision.hidden) {
    return <p className="eo-quiet eo-pad">Its values are not told: you may not see what steps leave in Airflow.</p>;
  }
  return decision.values.length > 0 ? (
    <dl className="eo-values">
      {decision.values.map(({ name, value }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{told(value)}</dd>
        </div>
      ))}
    </dl>
  ) : null;
}

/** All rules, and which of them fired. */
export function Rules({ decision, titles }: { decision: DecisionTold; titles: Titles }) {
  return (
    <Scroll name={`Rules of ${decision.step.title}`}>
      <table className="eo-table">
        <thead>
          <tr>
            <th>Rule</th>
            <th>Leads to</th>
            <th>Fired</th>
          </tr>
        </thead>
        <tbody>
          {decision.ways.map((way) => (
            <tr data-off={way.fired ? undefined : ""} key={way.id}>
              <td>
                <code>{way.title}</code>
              </td>
              <td>{titled(way.leads_to, titles)}</td>
              <td>{way.fired ? <Badge look={{ tone: "ok", icon: "check", text: "Yes" }} plain /> : <span className="eo-quiet">No</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** A decision in the room beside the graph: at the branch itself, and at the steps that it is about. */
export function DecidedBeside({ decision, step, titles }: { decision: DecisionTold; step: string; titles: Titles }) {
  const own = decision.step.id === step;
  const taken = decision.chosen.includes(step);
  return (
    <section className="eo-decided">
      <h3>{own ? (decision.open_until ? "What the rules propose" : "What was decided") : `${taken ? "Taken" : "Not taken"} by “${decision.step.title}”`}</h3>
      <p>{decision.sentence}</p>
      <Otherwise decision={decision} titles={titles} />
      <ul className="eo-rules">
        {decision.ways.map((way) => (
          <li data-off={way.fired ? undefined : ""} data-tone={way.fired ? "ok" : "idle"} key={way.id}>
            <Icon name={way.fired ? "check" : "dash"} size={12} />
            <span>
              <code>{way.title}</code>
              <small>
                {way.fired ? "fired" : "did not fire"}, {way.fired ? "leads" : "would lead"} to {titled(way.leads_to, titles)}
              </small>
            </span>
          </li>
        ))}
      </ul>
      <SeenValues decision={decision} />
      <small>
        {decision.at ? `${exactly(decision.at)}, ` : ""}by {decision.by}
      </small>
    </section>
  );
}
