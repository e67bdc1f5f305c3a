/**
 * Where the steps of a stream stand: a lane for each technology, a column for each place in the longest way there.
 * Always the same for the same stream, so that people find a step where it was yesterday.
 */

export interface Placed {
  id: string;
  lane: number;
  column: number;
  /** Below one another within the lane, from 0. */
  row: number;
  x: number;
  y: number;
}

export interface Lane {
  name: string;
  y: number;
  height: number;
}

export interface Way {
  from: string;
  to: string;
  /** An SVG path, at right angles with rounded corners, that crosses no step. */
  path: string;
  /** Where a label may stand. */
  label: { x: number; y: number };
}

export interface Layout {
  nodes: Map<string, Placed>;
  lanes: Lane[];
  ways: Way[];
  width: number;
  height: number;
}

interface Node {
  id: string;
  lane: string;
}

interface Edge {
  from: string;
  to: string;
  /** Whether something is written on it: it then needs room before the step that it leads to. */
  labelled?: boolean;
}

export const NODE = { width: 166, height: 56 };
const GUTTER = 54;
const LABELLED = 142;
const GAP = 26;
const PAD = 18;

/** @param order The lanes from top to bottom; ones that are missing there come below. */
export function layOut(nodes: readonly Node[], edges: readonly Edge[], order: readonly string[] = []): Layout {
  const known = new Set(nodes.map((node) => node.id));
  const links = edges.filter(({ from, to }) => known.has(from) && known.has(to) && from !== to);
  const columns = longestWays(nodes, links);
  const used = laneNames(nodes, columns);
  const lanes = [...order.filter((name) => used.includes(name)), ...used.filter((name) => !order.includes(name))];
  const cells = rowsInLanes(nodes, links, columns, lanes);

  const bands: Lane[] = [];
  let y = 0;
  lanes.forEach((name, lane) => {
    const rows = 1 + Math.max(0, ...[...cells.values()].filter((cell) => cell.lane === lane).map((cell) => cell.row));
    const height = 2 * PAD + rows * NODE.height + (rows - 1) * GAP;
    bands.push({ name, y, height });
    y += height;
  });
  const lefts = columnLefts(links, columns);
  const placed = new Map<string, Placed>();
  for (const [id, cell] of cells) {
    placed.set(id, {
      ...cell,
      id,
      x: lefts[cell.column] ?? PAD,
      y: (bands[cell.lane]?.y ?? 0) + PAD + cell.row * (NODE.height + GAP),
    });
  }
  return {
    nodes: placed,
    lanes: bands,
    ways: draw(links, placed),
    width: (lefts.at(-1) ?? PAD) + NODE.width + PAD,
    height: y,
  };
}

/** The column of each step: one behind the furthest of those that it follows. A circle, which no stream has, is cut. */
function longestWays(nodes: readonly Node[], edges: readonly Edge[]): Map<string, number> {
  const before = new Map<string, string[]>(nodes.map((node) => [node.id, []]));
  for (const { from, to } of edges) {
    before.get(to)?.push(from);
  }
  const columns = new Map<string, number>();
  const open = new Set<string>();
  const visit = (id: string): number => {
    const found = columns.get(id);
    if (found !== undefined || open.has(id)) {
      return found ?? 0;
    }
    open.add(id);
    const column = Math.max(-1, ...(before.get(id) ?? []).map(visit)) + 1;
    open.delete(id);
    columns.set(id, column);
    return column;
  };
  for (const node of nodes) {
    visit(node.id);
  }
  return columns;
}

/** Where each column begins: gutters are as wide as what is written in them. */
function columnLefts(edges: readonly Edge[], columns: Map<string, number>): number[] {
  const wide = new Set(edges.filter(({ labelled }) => labelled).map(({ to }) => columns.get(to) ?? 0));
  const lefts = [PAD];
  const last = Math.max(0, ...columns.values());
  for (let column = 1; column <= last; column += 1) {
    lefts.push((lefts[column - 1] ?? PAD) + NODE.width + (wide.has(column) ? LABELLED : GUTTER));
  }
  return lefts;
}

/** The lanes, from the technology that the stream enters first. */
function laneNames(nodes: readonly Node[], columns: Map<string, number>): string[] {
  const first = new Map<string, number>();
  for (const { id, lane } of nodes) {
    first.set(lane, Math.min(first.get(lane) ?? Infinity, columns.get(id) ?? 0));
  }
  return [...first].sort(([a, left], [b, right]) => left - right || a.localeCompare(b)).map(([name]) => name);
}

interface Cell {
  lane: number;
  column: number;
  row: number;
}

/** A row for each step: that of the step before it in its lane when it is free, so that a chain stays a line. */
function rowsInLanes(
  nodes: readonly Node[],
  edges: readonly Edge[],
  columns: Map<string, number>,
  lanes: readonly string[],
): Map<string, Cell> {
  const cells = new Map<string, Cell>();
  const taken = new Set<string>();
  const inOrder = [...nodes].sort((a, b) => (columns.get(a.id) ?? 0) - (columns.get(b.id) ?? 0));
  for (const { id, lane: name } of inOrder) {
    const lane = lanes.indexOf(name);
    const column = columns.get(id) ?? 0;
    const wished = edges
      .filter((edge) => edge.to === id && cells.get(edge.from)?.lane === lane)
      .map((edge) => cells.get(edge.from)?.row ?? 0);
    let row = wished.length > 0 ? Math.min(...wished) : 0;
    if (taken.has(`${lane}/${column}/${row}`)) {
      row = 0;
      while (taken.has(`${lane}/${column}/${row}`)) {
        row += 1;
      }
    }
    taken.add(`${lane}/${column}/${row}`);
    cells.set(id, { lane, column, row });
  }
  return cells;
}

/** Lines run in the gutters between the columns, and long ones in the gap above the row that they lead to. */
function draw(edges: readonly Edge[], placed: Map<string, Placed>): Way[] {
  const inGutter = new Map<number, number>();
  const inGap = new Map<string, number>();
  const next = <Key>(used: Map<Key, number>, key: Key): number => {
    const number = used.get(key) ?? 0;
    used.set(key, number + 1);
    return number;
  };
  return edges.flatMap(({ from, to }) => {
    const start = placed.get(from);
    const end = placed.get(to);
    if (start === undefined || end === undefined) {
      return [];
    }
    const left = { x: start.x + NODE.width, y: start.y + NODE.height / 2 };
    const right = { x: end.x, y: end.y + NODE.height / 2 };
    const label = { x: right.x - 6, y: right.y - 5 };
    if (end.column === start.column + 1) {
      if (Math.abs(left.y - right.y) < 1) {
        return [{ from, to, path: `M${left.x} ${left.y}H${right.x}`, label }];
      }
      const middle = left.x + 14 + (next(inGutter, start.column) % 5) * 7;
      return [{ from, to, path: rounded([left, { x: middle, y: left.y }, { x: middle, y: right.y }, right]), label }];
    }
    const out = left.x + 14 + (next(inGutter, start.column) % 5) * 7;
    const back = right.x - 12 - (next(inGutter, end.column - 1) % 5) * 5;
    const above = end.y - 6 - (next(inGap, `${end.lane}/${end.row}`) % 4) * 5;
    const bends = [left, { x: out, y: left.y }, { x: out, y: above }, { x: back, y: above }, { x: back, y: right.y }, right];
    return [{ from, to, path: rounded(bends), label }];
  });
}

interface Point {
  x: number;
  y: number;
}

/** A line through points at right angles, with its corners rounded as far as there is room. */
function rounded(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) {
    return "";
  }
  let path = `M${first.x} ${first.y}`;
  let here = first;
  rest.forEach((corner, index) => {
    const after = rest[index + 1];
    if (after === undefined) {
      path += `L${corner.x} ${corner.y}`;
      return;
    }
    const room = Math.min(8, distance(here, corner) / 2, distance(corner, after) / 2);
    const enter = towards(corner, here, room);
    const leave = towards(corner, after, room);
    path += `L${enter.x} ${enter.y}Q${corner.x} ${corner.y} ${leave.x} ${leave.y}`;
    here = corner;
  });
  return path;
}

const distance = (a: Point, b: Point): number => Math.abs(a.x - b.x) + Math.abs(a.y - b.y);

function towards(from: Point, to: Point, by: number): Point {
  const whole = distance(from, to) || 1;
  return { x: from.x + ((to.x - from.x) / whole) * by, y: from.y + ((to.y - from.y) / whole) * by };
}
