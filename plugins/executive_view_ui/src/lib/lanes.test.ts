import { expect, test } from "vitest";

import { layOut, NODE } from "./lanes";

const nodes = [
  { id: "extract", lane: "mainframe" },
  { id: "verify", lane: "mainframe" },
  { id: "load", lane: "sap" },
  { id: "price", lane: "container" },
  { id: "score", lane: "container" },
  { id: "drop", lane: "fileshare" },
];
const edges = [
  { from: "extract", to: "verify" },
  { from: "verify", to: "load" },
  { from: "load", to: "price" },
  { from: "load", to: "score" },
  { from: "price", to: "drop" },
  { from: "score", to: "drop" },
  { from: "extract", to: "drop" },
];

test("every step stands right of all that it follows", () => {
  const { nodes: placed } = layOut(nodes, edges);
  for (const { from, to } of edges) {
    expect(placed.get(to)!.x).toBeGreaterThan(placed.get(from)!.x + NODE.width);
  }
});

test("no two steps stand on one another, and each stands within its lane", () => {
  const { nodes: placed, lanes } = layOut(nodes, edges);
  const all = [...placed.values()];
  for (const one of all) {
    const lane = lanes[one.lane]!;
    expect(one.y).toBeGreaterThanOrEqual(lane.y);
    expect(one.y + NODE.height).toBeLessThanOrEqual(lane.y + lane.height);
    for (const other of all) {
      const apart = Math.abs(one.x - other.x) >= NODE.width || Math.abs(one.y - other.y) >= NODE.height;
      expect(one === other || apart).toBe(true);
    }
  }
});

test("no line crosses a step that it does not belong to", () => {
  const { nodes: placed, ways } = layOut(nodes, edges);
  expect(ways).toHaveLength(edges.length);
  for (const way of ways) {
    const points = [...way.path.matchAll(/(-?[\d.]+) (-?[\d.]+)/gu)].map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
    for (const step of placed.values()) {
      if (step.id === way.from || step.id === way.to) {
        continue;
      }
      points.slice(1).forEach((end, index) => {
        const start = points[index]!;
        const [left, right] = [Math.min(start.x, end.x), Math.max(start.x, end.x)];
        const [top, bottom] = [Math.min(start.y, end.y), Math.max(start.y, end.y)];
        const hit = right > step.x && left < step.x + NODE.width && bottom > step.y && top < step.y + NODE.height;
        expect(hit, `${way.from} to ${way.to} crosses ${step.id}`).toBe(false);
      });
    }
  }
});

test("what is written on a line has room before the step that it leads to", () => {
  const plain = layOut(nodes, edges);
  const labelled = layOut(nodes, edges.map((edge) => ({ ...edge, labelled: edge.to === "load" })));
  const room = ({ nodes: placed }: typeof plain, from: string, to: string) => placed.get(to)!.x - placed.get(from)!.x - NODE.width;
  expect(room(labelled, "verify", "load")).toBeGreaterThan(130);
  expect(room(labelled, "extract", "verify")).toBe(room(plain, "extract", "verify"));
  expect(labelled.width - plain.width).toBe(room(labelled, "verify", "load") - room(plain, "verify", "load"));
});

test("a chain within a lane is a straight line", () => {
  const chain = ["a", "b", "c"].map((id) => ({ id, lane: "unix" }));
  const { ways } = layOut(chain, [
    { from: "a", to: "b" },
    { from: "b", to: "c" },
  ]);
  for (const { path } of ways) {
    expect(path).toMatch(/^M[\d.]+ [\d.]+H[\d.]+$/u);
  }
});

test("the lanes stand in the order that is wished", () => {
  const { lanes } = layOut(nodes, edges, ["fileshare", "sap"]);
  expect(lanes.map(({ name }) => name)).toEqual(["fileshare", "sap", "mainframe", "container"]);
});

test("a circle and a line to a step that is not there do no harm", () => {
  const { nodes: placed } = layOut(
    [
      { id: "a", lane: "x" },
      { id: "b", lane: "x" },
    ],
    [
      { from: "a", to: "b" },
      { from: "b", to: "a" },
      { from: "a", to: "gone" },
    ],
  );
  expect(placed.size).toBe(2);
});

test("a thousand steps are laid out at once", () => {
  const many = Array.from({ length: 1000 }, (_, index) => ({ id: `s${index}`, lane: `l${index % 7}` }));
  const chain = many.slice(1).map((node, index) => ({ from: `s${index}`, to: node.id }));
  expect(layOut(many, chain).nodes.size).toBe(1000);
});
