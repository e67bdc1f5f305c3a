import { useEffect, useMemo, useRef, useState, type ReactNode } from "react";

import type { DecisionTold, Edge, Graph as GraphData, Node } from "../api/schema";
import { valuesInShort, wayKey, waysTold, type WayTold } from "../lib/decided";
import { between, duration, percent } from "../lib/format";
import { layOut, NODE, type Placed } from "../lib/lanes";
import { stepState, type Look } from "../lib/words";
import { Icon } from "./icons";

const NONE: readonly DecisionTold[] = [];

interface Props {
  graph: GraphData;
  chosen: string | null;
  choose: (id: string | null) => void;
  /** What was decided, for the ways out of branches. */
  decisions?: readonly DecisionTold[];
  /** On the page of a stream: how much of the time a step takes, instead of how it went. */
  heat?: boolean;
  /** How the holds of a step's remote jobs stand, if somebody asked for one. */
  held?: (id: string) => Look | undefined;
}

/** A stream as swimlanes. Steps are buttons, so that the keyboard and a screen reader walk it as the eye does. */
export function Graph({ graph, chosen, choose, decisions = NONE, heat = false, held }: Props) {
  const decided = useMemo(() => waysTold(decisions), [decisions]);
  const layout = useMemo(
    () =>
      layOut(
        graph.nodes.map(({ id, stack }) => ({ id, lane: stack.id })),
        graph.edges.map((edge) => ({ from: edge.source, to: edge.target, labelled: labelOf(edge, decided.get(wayKey(edge.source, edge.target))) !== "" })),
        graph.lanes.map(({ id }) => id),
      ),
    [decided, graph],
  );
  const room = useRef<HTMLDivElement>(null);
  const [zoom, setZoom] = useState(1);
  const fit = () => {
    const width = room.current?.clientWidth ?? 0;
    setZoom(width > 0 ? Math.max(0.8, Math.min(1, (width - 112) / layout.width)) : 1);
  };
  useEffect(fit, [layout.width]);

  const titles = new Map(graph.lanes.map(({ id, title }) => [id, title]));
  const edges = new Map(graph.edges.map((edge) => [wayKey(edge.source, edge.target), edge]));
  const ordered = [...graph.nodes].sort((a, b) => {
    const [left, right] = [layout.nodes.get(a.id), layout.nodes.get(b.id)];
    return (left?.column ?? 0) - (right?.column ?? 0) || (left?.y ?? 0) - (right?.y ?? 0);
  });
  const onKeyDown = (event: React.KeyboardEvent) => {
    const here = event.target instanceof HTMLElement ? layout.nodes.get(event.target.dataset["step"] ?? "") : undefined;
    const next = here ? neighbour(here, event.key, [...layout.nodes.values()]) : undefined;
    if (next) {
      event.preventDefault();
      room.current?.querySelector<HTMLElement>(`[data-step="${CSS.escape(next.id)}"]`)?.focus();
    }
  };

  return (
    <div className="eo-graph" dir="ltr">
      <div aria-label="Size of the graph" className="eo-zoom" role="group">
        <button aria-label="Smaller" onClick={() => setZoom((now) => Math.max(0.4, now - 0.15))} type="button">
          <Icon name="minus" />
        </button>
        <button aria-label="Fit" onClick={fit} type="button">
          <Icon name="fit" />
        </button>
        <button aria-label="Larger" onClick={() => setZoom((now) => Math.min(1.6, now + 0.15))} type="button">
          <Icon name="plus" />
        </button>
      </div>
      <div className="eo-graph-room" onKeyDown={onKeyDown} ref={room} tabIndex={-1}>
        <div className="eo-graph-lanes" style={{ blockSize: layout.height * zoom, minInlineSize: layout.width * zoom + 108 }}>
          {layout.lanes.map((lane) => (
            <div className="eo-lane" key={lane.name} style={{ blockSize: lane.height * zoom }}>
              <span>{titles.get(lane.name) ?? lane.name}</span>
            </div>
          ))}
          <div className="eo-canvas" style={{ inlineSize: layout.width, blockSize: layout.height, transform: `scale(${zoom})` }}>
            <svg aria-hidden height={layout.height} width={layout.width}>
              <defs>
                {["open", "taken", "not"].map((kind) => (
                  <marker id={`eo-arrow-${kind}`} key={kind} markerHeight="7" markerWidth="7" orient="auto" refX="6" refY="3.5">
                    <path className={`eo-arrow eo-arrow-${kind}`} d="M0 0 7 3.5 0 7Z" />
                  </marker>
                ))}
              </defs>
              {layout.ways.map((way) => {
                const edge = edges.get(wayKey(way.from, way.to));
                const kind = kindOf(edge);
                return <path className={`eo-way eo-way-${kind}`} d={way.path} key={wayKey(way.from, way.to)} markerEnd={`url(#eo-arrow-${kind})`} />;
              })}
            </svg>
            {layout.ways.map((way) => (
              <WayLabel edge={edges.get(wayKey(way.from, way.to))} key={wayKey(way.from, way.to)} place={way.label} told={decided.get(wayKey(way.from, way.to))} />
            ))}
            {ordered.map((node) => {
              const place = layout.nodes.get(node.id);
              return place ? (
                <Step
                  chosen={node.id === chosen}
                  heat={heat}
                  held={held?.(node.id)}
                  key={node.id}
                  node={node}
                  onClick={() => choose(node.id === chosen ? null : node.id)}
                  place={place}
                />
              ) : null;
            })}
          </div>
        </div>
      </div>
    </div>
  );
}

/** Give the focus back to a step, when what was opened for it is closed. */
export const focusStep = (id: string): void => document.querySelector<HTMLElement>(`[data-step="${CSS.escape(id)}"]`)?.focus();

const kindOf = (edge: Edge | undefined): "open" | "taken" | "not" =>
  edge?.taken === true ? "taken" : edge?.taken === false ? "not" : "open";

const labelOf = (edge: Edge | undefined, told: WayTold | undefined): string =>
  edge?.share === null || edge?.share === undefined ? (told?.by ? `as ${told.by} decided` : (edge?.label ?? told?.rule ?? "")) : percent(edge.share, 0);

/** What stands on a line: how often it was taken, or the rule that leads there and the values that it was decided by. */
function WayLabel({ edge, told, place }: { edge: Edge | undefined; told: WayTold | undefined; place: { x: number; y: number } }) {
  const rule = labelOf(edge, told);
  if (rule === "") {
    return null;
  }
  const values = told ? valuesInShort(told.values) : "";
  const fired = told ? (told.fired ? "fired" : "did not fire") : "";
  return (
    <span
      className="eo-way-label"
      data-kind={kindOf(edge)}
      style={{ left: place.x, top: place.y }}
      title={[told?.by ? rule : "", edge?.label ?? told?.rule, fired, values].filter(Boolean).join(" · ")}
    >
      {rule}
      {values ? <small>{values}</small> : null}
    </span>
  );
}

interface StepProps {
  node: Node;
  place: Placed;
  chosen: boolean;
  heat: boolean;
  held: Look | undefined;
  onClick: () => void;
}

function Step({ node, place, chosen, heat, held, onClick }: StepProps) {
  const run = node.run;
  const look: Look = run ? stepState(run.state) : { tone: "idle", icon: iconOf(node.kind), text: "" };
  const said: ReactNode[] = [];
  if (held) {
    said.push(
      <b data-tone={held.tone} key="held">
        {held.text}
      </b>,
    );
  } else if (run) {
    said.push(look.text);
    if (run.started_at && run.state !== "skipped") {
      const seconds = between(run.started_at, run.ended_at ?? new Date().toISOString());
      said.push(` · ${duration(seconds)}`);
    }
    if (run.items) {
      said.push(` · ${run.items.done} of ${run.items.total}`);
    }
  } else if (heat && node.heat !== null && node.heat !== undefined) {
    said.push(`${percent(node.heat, 0)} of the time`);
  } else {
    said.push(node.connection ?? node.kind);
  }
  return (
    <button
      aria-pressed={chosen}
      className="eo-step"
      data-late={run?.late ? "" : undefined}
      data-off={node.on_path === false ? "" : undefined}
      data-step={node.id}
      data-tone={look.tone}
      onClick={onClick}
      style={{
        left: place.x,
        top: place.y,
        width: NODE.width,
        height: NODE.height,
        ...(heat && node.heat ? { "--eo-heat": `${Math.round(node.heat * 70)}%` } : {}),
      }}
      title={run?.message ?? node.title}
      type="button"
    >
      <span className="eo-step-title">
        <Icon name={look.icon} />
        <span>{node.title}</span>
      </span>
      <span className="eo-step-note">
        {said}
        {run?.late ? <b> · late</b> : null}
        {undoing(node) ? <b> · {undoing(node)}</b> : null}
        {(run?.try_number ?? 1) > 1 ? ` · try ${run?.try_number}` : ""}
      </span>
    </button>
  );
}

/** What became of undoing a step's work, in a word or two; nothing where there was nothing to undo. */
export function undoing(node: Node): string {
  if (node.undone) {
    return "undone";
  }
  const state = node.undo?.state;
  return state === undefined || state === "success" ? "" : state === "failed" ? "undo failed" : state === "parked" ? "undo parked" : "being undone";
}

function iconOf(kind: string): Look["icon"] {
  return kind === "branch" || kind === "decision" || kind === "choice" ? "branch" : kind === "approval" ? "person" : kind === "wait_until" ? "clock" : "remote";
}

/** The nearest step in the direction of an arrow key. */
function neighbour(from: Placed, key: string, all: readonly Placed[]): Placed | undefined {
  const ahead: Record<string, (other: Placed) => boolean> = {
    ArrowRight: (other) => other.x > from.x,
    ArrowLeft: (other) => other.x < from.x,
    ArrowDown: (other) => other.y > from.y,
    ArrowUp: (other) => other.y < from.y,
  };
  const fits = ahead[key];
  const far = (other: Placed) =>
    key === "ArrowDown" || key === "ArrowUp"
      ? Math.abs(other.y - from.y) + 3 * Math.abs(other.x - from.x)
      : Math.abs(other.x - from.x) + 2 * Math.abs(other.y - from.y);
  return fits ? all.filter(fits).sort((a, b) => far(a) - far(b))[0] : undefined;
}
