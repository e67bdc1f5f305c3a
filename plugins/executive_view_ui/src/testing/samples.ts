/**
 * Answers of the API as a busy afternoon gives them, for tests. Made from a small recipe, always the same; typed as the
 * API's own description says, so that they cannot drift away from it.
 */

import type {
  ActionDone,
  ActionPreview,
  Bulk,
  BulkResults,
  Bulks,
  Comparison,
  Counts,
  Edge,
  EventPage,
  Facets,
  Graph,
  HeldJob,
  Holds,
  InstanceActions,
  InstanceDetail,
  InstancePage,
  InstanceRow,
  Me,
  Node,
  Offer,
  Overview,
  RunsAhead,
  Stack,
  StepLog,
  StepRun,
  StreamDetail,
  StreamLine,
  StreamStatistics,
  Versions,
} from "../api/schema";

/** The moment at which everything here is true. */
export const NOW = "2026-03-10T14:02:05Z";

/** Minutes from `NOW`. */
export const at = (minutes: number): string => new Date(Date.parse(NOW) + minutes * 60_000).toISOString().replace(".000", "");

export const STACKS: Record<string, Stack> = Object.fromEntries(
  [
    ["mainframe", "Mainframe"],
    ["sap", "SAP"],
    ["container", "Containers"],
    ["fileshare", "File share"],
    ["windows", "Windows"],
    ["unix", "UNIX"],
    ["people", "People"],
    ["logic", "Decisions"],
  ].map(([id, title]) => [id, { id, title } as Stack]),
);

const stack = (id: string): Stack => STACKS[id] ?? { id, title: id };

const counts = (live: number, risk = 0, late = 0, failed = 0, people = 0, parked = 0): Counts => ({
  live,
  at_risk: risk,
  late,
  failed,
  waiting_people: people,
  parked,
});

function line(
  dag_id: string,
  title: string,
  domain: string,
  owner: string,
  level: StreamLine["level"],
  numbers: Counts,
  due: number | null,
  expected: number | null,
  share: number | null,
  stacks: readonly (readonly [string, StreamLine["level"], number, number?])[],
): StreamLine {
  return {
    dag_id,
    title,
    domain,
    owner,
    criticality: level === "problem" ? "high" : "medium",
    level,
    counts: numbers,
    stacks: stacks.map(([id, light, live, bad = 0]) => ({
      stack: stack(id),
      level: light,
      live,
      late: light === "problem" ? bad : 0,
      at_risk: light === "attention" ? bad : 0,
      failed: 0,
      waiting_people: 0,
    })),
    due_at: due === null ? null : at(due),
    forecast: due === null ? null : { p50: expected === null ? null : at(expected), p90: expected === null ? null : at(expected + 22), instances: expected === null ? 3 : 187, enough: expected !== null },
    late_seconds: numbers.late > 0 ? 38 * 60 : null,
    on_time_share: share,
  };
}

export function overview(changes: Partial<Overview> = {}): Overview {
  const trend = Array.from({ length: 30 }, (_, index) => {
    const quiet = index % 7 === 5;
    const ended = quiet ? 0 : 300 + ((index * 53) % 140);
    const late = quiet ? 0 : 5 + ((index * 29) % 17) + (index === 22 ? 38 : 0);
    const failed = quiet ? 0 : (index * 7) % 4;
    return {
      day: new Date(Date.parse("2026-02-09") + index * 86_400_000).toISOString().slice(0, 10),
      started: ended + 3,
      ended,
      on_time: ended - late - failed,
      late,
      failed,
      on_time_share: ended ? (ended - late - failed) / ended : null,
      p50_seconds: null,
      p90_seconds: null,
    };
  });
  return {
    as_of: NOW,
    fed_at: NOW,
    stale: false,
    sentence: "3 of 12 streams need attention: 41 orders are late, the worst by 38 minutes, because SAP is slow.",
    level: "problem",
    counts: counts(1020, 57, 41, 3, 14, 2),
    unacknowledged: 4,
    oldest_unacknowledged_seconds: 720,
    on_time_share: 0.974,
    on_time_share_before: 0.968,
    streams: [
      line("order_to_certificate", "Order to certificate of completion", "Customer onboarding", "customer-operations", "problem", counts(412, 31, 22, 2, 6, 1), 118, 156, 0.931, [
        ["mainframe", "ok", 96],
        ["sap", "problem", 141, 22],
        ["container", "ok", 88],
        ["fileshare", "ok", 51],
        ["windows", "ok", 36],
      ]),
      line("bank_end_of_day", "Bank end of day", "Settlement", "settlement-desk", "attention", counts(203, 19, 9, 0, 2), 238, 233, 0.962, [
        ["mainframe", "ok", 120],
        ["unix", "attention", 43, 19],
        ["fileshare", "ok", 40],
      ]),
      line("insurance_claim", "Insurance claim to payment", "Claims", "claims-handling", "attention", counts(164, 7, 10, 1, 6, 1), 75, 70, 0.958, [
        ["people", "attention", 6, 6],
        ["sap", "ok", 90],
        ["windows", "ok", 68],
      ]),
      line("month_end_close", "Month-end close", "Finance", "group-accounting", "ok", counts(12), 1440, null, null, [
        ["sap", "ok", 9],
        ["mainframe", "ok", 3],
        ["logic", "idle", 0],
      ]),
      line("supplier_onboarding", "Supplier onboarding", "Procurement", "procurement", "ok", counts(229), 300, 251, 0.991, [
        ["sap", "ok", 120],
        ["container", "ok", 60],
        ["fileshare", "ok", 49],
      ]),
      line("card_renewal", "Card renewal", "Customer onboarding", "card-services", "idle", counts(0), null, null, 0.998, [
        ["mainframe", "idle", 0],
        ["unix", "idle", 0],
      ]),
    ],
    trend,
    lateness_by_stack: [
      { stack: stack("sap"), seconds: 61_400, share: 0.58 },
      { stack: stack("people"), seconds: 21_900, share: 0.21 },
      { stack: stack("mainframe"), seconds: 12_100, share: 0.11 },
      { stack: stack("unix"), seconds: 8_000, share: 0.08 },
      { stack: stack("fileshare"), seconds: 2_300, share: 0.02 },
    ],
    ...changes,
  };
}

export function row(id: number, changes: Partial<InstanceRow> = {}): InstanceRow {
  const healths = ["late", "at_risk", "waiting", "on_time", "on_time", "on_time", "no_due", "failed"] as const;
  const health = healths[id % healths.length] ?? "on_time";
  const steps = [
    ["post_invoice", "Post the invoice", "sap"],
    ["book_order", "Book the order", "mainframe"],
    ["approve", "Release a large order", "people"],
    ["provision", "Provision the service", "container"],
    ["certify", "Deliver the certificate", "fileshare"],
  ] as const;
  const [step, title, on] = steps[id % steps.length] ?? steps[0];
  const due = health === "no_due" ? null : at(health === "late" ? -38 + (id % 30) : 40 + (id % 300));
  return {
    id,
    dag_id: "order_to_certificate",
    run_id: `manual__${id}`,
    key: `ORD-${String(id).padStart(6, "0")}`,
    stream: "Order to certificate of completion",
    version: 7,
    domain: "Customer onboarding",
    owner: "customer-operations",
    criticality: "high",
    business_date: "2026-03-10",
    run_type: "manual",
    state: "running",
    live: true,
    health,
    queued_at: at(-95),
    started_at: at(-94),
    ended_at: null,
    due_at: due,
    first_due_at: due,
    late_seconds: health === "late" ? 38 * 60 : null,
    step: { id: step, title, stack: stack(on) },
    waits_for: on === "people" ? "person" : "remote_job",
    waiting_people: on === "people",
    parked: false,
    forecast: { p50: at(health === "late" || health === "at_risk" ? 60 + (id % 90) : 20 + (id % 30)), p90: at(180), instances: 187, enough: true },
    acknowledged: health === "late" && id % 3 === 0 ? { by: "m.keller", at: at(-5) } : null,
    changed_at: at(-1),
    ...changes,
  };
}

export function page(first: number, length: number, total: number, next: string | null): InstancePage {
  return { as_of: NOW, total, items: Array.from({ length }, (_, index) => row(first + index)), next_cursor: next };
}

const job = (id: string, name: string, state: string, verdict: string | null, opened: number, closed: number | null) => ({
  attempt: 1,
  key: "Kx3vR8TqLmZ2",
  system: "sap://erp.example:00/100",
  job_id: id,
  job_name: name,
  state,
  verdict,
  message: null,
  parked: null,
  closed_by: closed === null ? null : "system",
  opened: at(opened),
  closed: closed === null ? null : at(closed),
});

const ran = (state: StepRun["state"], start: number | null, end: number | null, more: Partial<StepRun> = {}): StepRun => ({
  state,
  airflow_state: state === "success" ? "success" : "deferred",
  try_number: 1,
  queued_at: start === null ? null : at(start - 0.3),
  started_at: start === null ? null : at(start),
  ended_at: end === null ? null : at(end),
  due_at: null,
  late: false,
  job: null,
  items: null,
  message: null,
  ...more,
});

const STEPS: readonly (readonly [string, string, string, string, StepRun | null, boolean | null, number])[] = [
  ["book_order", "Book the order", "mainframe.job", "mainframe", ran("success", -94, -80), true, 0.16],
  ["check_stock", "Check the stock", "unix.script", "unix", ran("success", -80, -77), true, 0.03],
  ["post_invoice", "Post the invoice", "sap.background_job", "sap", ran("running", -76, null, { late: true, try_number: 2, job: job("00420117", "ZPOST_INVOICE", "submitted", null, -41, null), message: "Runs for 41 min; nine of ten take 12 min." }), true, 0.44],
  ["route", "How is it provided?", "branch", "logic", ran("success", -77, -77), true, 0],
  ["approve", "Release a large order", "approval", "people", ran("success", -77, -70), true, 0.2],
  ["provision", "Provision in the data centre", "container.provision", "container", ran("open", null, null), null, 0.11],
  ["provision_cloud", "Provision with the partner", "container.run", "container", ran("skipped", null, null), false, 0.02],
  ["certify", "Deliver the certificate", "fileshare.deliver", "fileshare", ran("open", null, null), null, 0.02],
  ["update_crm", "Update the customer's record", "windows.task", "windows", ran("open", null, null), null, 0.02],
];
const EDGES: readonly (readonly [string, string, string | null, boolean | null, number | null])[] = [
  ["book_order", "check_stock", null, true, null],
  ["book_order", "post_invoice", null, true, null],
  ["check_stock", "route", null, true, null],
  ["post_invoice", "provision", null, null, null],
  ["route", "approve", "amount > 10000.0", true, 0.18],
  ["route", "provision", "otherwise", false, 0.71],
  ["route", "provision_cloud", 'region == "partner"', false, 0.11],
  ["approve", "provision", null, null, null],
  ["provision", "certify", null, null, null],
  ["provision_cloud", "certify", null, false, null],
  ["certify", "update_crm", null, null, null],
];

export function graph(withRuns: boolean): Graph {
  const nodes: Node[] = STEPS.map(([id, title, kind, on, run, onPath, heat], column) => ({
    id,
    title,
    kind,
    stack: stack(on),
    system: on,
    connection: on === "logic" || on === "people" ? null : `${on}_prod`,
    group: null,
    column,
    row: 0,
    on_path: withRuns ? onPath : null,
    sub_stream: null,
    undone: false,
    heat: withRuns ? null : heat,
    run: withRuns ? run : null,
  }));
  const edges: Edge[] = EDGES.map(([source, target, label, taken, share]) => ({
    source,
    target,
    label,
    taken: withRuns ? taken : null,
    share: withRuns ? null : share,
  }));
  const lanes = ["mainframe", "unix", "sap", "logic", "people", "container", "fileshare", "windows"].map(stack);
  return { lanes, nodes, edges };
}

export function instance(changes: Partial<InstanceDetail> = {}): InstanceDetail {
  const plan: Record<string, [number, number]> = {
    book_order: [-94, -81],
    check_stock: [-81, -78],
    post_invoice: [-78, -66],
    route: [-78, -78],
    approve: [-78, -72],
    provision: [-66, -40],
    certify: [-40, -37],
    update_crm: [-37, -30],
  };
  const expected: Record<string, [number, number, number]> = {
    post_invoice: [-76, 12, 40],
    provision: [12, 38, 70],
    certify: [38, 41, 74],
    update_crm: [41, 48, 84],
  };
  return {
    as_of: NOW,
    instance: row(42, { health: "late", late_seconds: 38 * 60, due_at: at(10), first_due_at: at(10), forecast: { p50: at(48), p90: at(84), instances: 187, enough: true }, step: { id: "post_invoice", title: "Post the invoice", stack: stack("sap") } }),
    description: "From an order to the certificate that the service works.",
    params: { order_id: "ORD-000042", amount: 18_250.5, region: "north" },
    outputs: { book_order: { credit_class: "B", return_code: 4 }, check_stock: { in_stock: true } },
    graph: graph(true),
    decisions: [
      {
        step: { id: "route", title: "How is it provided?", stack: stack("logic") },
        kind: "branch",
        policy: "first",
        at: at(-77),
        by: "the rules",
        sentence: "The amount is above 10,000 and the customer is not of class A, so a person releases the order.",
        ways: [
          { id: "1", title: 'params.amount > 10000.0 && steps.book_order.credit_class != "A"', leads_to: ["approve"], fired: true },
          { id: "2", title: 'params.region == "partner"', leads_to: ["provision_cloud"], fired: false },
          { id: "otherwise", title: "otherwise", leads_to: ["provision"], fired: false },
        ],
        values: [
          { name: "params.amount", value: 18_250.5 },
          { name: "steps.book_order.credit_class", value: "B" },
          { name: "params.region", value: "north" },
        ],
        chosen: ["approve"],
        outputs: [],
        overridden: null,
        problem: null,
      },
    ],
    timeline: {
      start: at(-94),
      end: at(84),
      now: NOW,
      due_at: at(10),
      history: 187,
      bars: STEPS.filter(([id]) => id !== "provision_cloud").map(([id, title, , on, run]) => ({
        step: { id, title, stack: stack(on) },
        state: run?.state ?? "open",
        plan_start: plan[id] ? at(plan[id][0]) : null,
        plan_end: plan[id] ? at(plan[id][1]) : null,
        start: run?.started_at ?? null,
        end: run?.ended_at ?? null,
        forecast_start: expected[id] ? at(expected[id][0]) : null,
        forecast_end: expected[id] ? at(expected[id][1]) : null,
        forecast_end_p90: expected[id] ? at(expected[id][2]) : null,
        due_at: null,
        tries: run?.try_number ?? 0,
      })),
    },
    jobs: [
      { task_id: "book_order", map_index: -1, problem: null, jobs: [job("JOB00042", "BOOKORD", "closed", "success", -94, -80)] },
      {
        task_id: "post_invoice",
        map_index: -1,
        problem: null,
        jobs: [
          { ...job("00420098", "ZPOST_INVOICE", "closed", "failure", -76, -42), message: "SAP cancelled the job: the table VBRK was locked by user BATCH01." },
          { ...job("00420117", "ZPOST_INVOICE", "submitted", null, -41, null), attempt: 2 },
        ],
      },
    ],
    why: {
      headline: "Late by 38 minutes: posting the invoice takes three times as long as usual.",
      level: "problem",
      chain: [
        { kind: "stream", level: "problem", text: "ORD-000042 is expected at 14:50, 38 minutes after it is due.", since: at(-20), step: null, job: null, others: null },
        { kind: "step", level: "problem", text: "Post the invoice runs for 41 minutes; nine of ten take 12.", since: at(-41), step: { id: "post_invoice", title: "Post the invoice", stack: stack("sap") }, job: null, others: null },
        { kind: "remote_job", level: "problem", text: "SAP has not begun job 00420117: it waits for a free background process.", since: at(-39), step: null, job: job("00420117", "ZPOST_INVOICE", "submitted", null, -41, null), others: null },
        { kind: "resource", level: "attention", text: "All 6 background processes of SAP ERP are taken.", since: at(-52), step: null, job: null, others: 11 },
      ],
    },
    links: [{ title: "Airflow", href: "/dags/order_to_certificate/runs/manual__42" }],
    gone: false,
    ...changes,
  };
}

export const facets = (): Facets => ({
  streams: overview().streams.map(({ dag_id: id, title }) => ({ id, title })),
  domains: ["Claims", "Customer onboarding", "Finance", "Procurement", "Settlement"].map((id) => ({ id, title: id })),
  owners: ["claims-handling", "customer-operations", "settlement-desk"].map((id) => ({ id, title: id })),
  criticalities: ["high", "medium"].map((id) => ({ id, title: id })),
  stacks: Object.values(STACKS),
  steps: STEPS.map(([id, title, , on]) => ({ dag_id: "order_to_certificate", id, title, stack: on })),
  systems: ["mainframe", "sap", "container", "fileshare", "windows", "unix"].map((id) => ({ id, title: stack(id).title })),
  connections: ["container_prod", "fileshare_prod", "mainframe_prod", "sap_prod", "unix_prod", "windows_prod"].map((id) => ({ id, title: id })),
  kinds: ["decision", "override", "asked", "parked", "answered", "late", "ended", "deleted", "hold", "release", "skip", "override_asked"],
});

export const streamDetail = (): StreamDetail => ({
  as_of: NOW,
  stream: {
    dag_id: "order_to_certificate",
    title: "Order to certificate of completion",
    description: "From an order to the certificate that the service works.",
    domain: "Customer onboarding",
    owner: "customer-operations",
    criticality: "high",
    version: 7,
    paused: false,
    removed: false,
    level: "problem",
    counts: counts(412, 31, 22, 2, 6, 1),
    next_run: at(900),
  },
  business_key: "{{ params.order_id }}",
  due: "within 4 hours of its beginning",
  schedule: "at 06:30 on working days, Europe/Berlin",
  params: [
    { name: "order_id", title: "Order", type: "text", description: "The number of the order.", required: true, default: null, choices: [] },
    { name: "amount", title: "Amount", type: "number", description: "In euros.", required: false, default: 0, choices: [] },
    { name: "region", title: "Region", type: "text", description: "Who provides it.", required: false, default: "north", choices: ["north", "south", "partner"] },
  ],
  graph: graph(false),
  links: [{ title: "Airflow", href: "/dags/order_to_certificate" }],
});

export const statistics = (): StreamStatistics => ({
  as_of: NOW,
  since: at(-43_200),
  instances: 9214,
  looked_at: 500,
  on_time_share: 0.931,
  p50_seconds: 5400,
  p90_seconds: 9900,
  bottleneck: { id: "post_invoice", title: "Post the invoice", stack: stack("sap") },
  steps: STEPS.map(([id, title, , on, , , heat], index) => ({
    step: { id, title, stack: stack(on) },
    instances: 500 - index * 10,
    p50_seconds: 20 + heat * 3000,
    p90_seconds: 45 + heat * 5600,
    queued_p50_seconds: 2 + index,
    failed: id === "post_invoice" ? 31 : 0,
    retried: id === "post_invoice" ? 57 : index,
    share: heat,
  })),
  branches: [
    {
      step: { id: "route", title: "How is it provided?", stack: stack("logic") },
      decisions: 1987,
      overridden: 12,
      ways: [
        { id: "1", title: "params.amount > 10000.0", leads_to: ["approve"], count: 358, share: 0.18 },
        { id: "2", title: 'params.region == "partner"', leads_to: ["provision_cloud"], count: 219, share: 0.11 },
        { id: "otherwise", title: "otherwise", leads_to: ["provision"], count: 1410, share: 0.71 },
      ],
    },
  ],
  paths: [
    { steps: ["book_order", "check_stock", "post_invoice", "provision", "certify", "update_crm"], count: 1410, share: 0.71 },
    { steps: ["book_order", "check_stock", "post_invoice", "approve", "provision", "certify", "update_crm"], count: 358, share: 0.18 },
  ],
  trend: overview().trend,
});

export const versions = (): Versions => ({
  as_of: NOW,
  items: [
    { version: 7, digest: "a1", title: "Order to certificate of completion", first_seen: at(-4000), current: true, instances: 1400, live: 400, changes: [{ kind: "changed", where: "steps.post_invoice.variant", text: "DAILY became DAILY2" }, { kind: "added", where: "steps.check_stock", text: "Check the stock" }] },
    { version: 6, digest: "b2", title: "Order to certificate", first_seen: at(-90_000), current: false, instances: 7800, live: 12, changes: [] },
  ],
});

export const comparison = (): Comparison => ({ old: 6, new: 7, changes: versions().items[0]?.changes ?? [] });

export const runsAhead = (): RunsAhead => ({
  as_of: NOW,
  schedule: "at 06:30 on working days",
  timezone: "Europe/Berlin",
  paused: false,
  history: 187,
  items: Array.from({ length: 8 }, (_, index) => ({
    at: at(900 + index * 1440),
    business_date: new Date(Date.parse("2026-03-11") + index * 86_400_000).toISOString().slice(0, 10),
    due_at: at(1140 + index * 1440),
    expected_end: at(990 + index * 1440),
    expected_end_p90: at((index === 3 ? 1200 : 1065) + index * 1440),
  })),
  problem: null,
});

export const events = (): EventPage => ({
  as_of: NOW,
  total: 3,
  items: [
    { id: 3, at: at(-12), dag_id: "order_to_certificate", stream: "Order to certificate of completion", run_id: "manual__42", key: "ORD-000042", step: null, kind: "late", actor: null, reason: null, before: null, after: { due: at(10) } },
    { id: 2, at: at(-40), dag_id: "order_to_certificate", stream: "Order to certificate of completion", run_id: "manual__17", key: "ORD-000017", step: { id: "route", title: "How is it provided?", stack: stack("logic") }, kind: "override", actor: "m.keller", reason: "The customer has asked for the data centre.", before: ["provision_cloud"], after: ["provision"] },
    { id: 1, at: at(-66), dag_id: "order_to_certificate", stream: "Order to certificate of completion", run_id: "manual__42", key: "ORD-000042", step: { id: "route", title: "How is it provided?", stack: stack("logic") }, kind: "decision", actor: "the rules", reason: null, before: null, after: ["approve"] },
  ],
  next_cursor: null,
});

export const log = (): StepLog => ({
  task_id: "post_invoice",
  map_index: -1,
  try_number: 2,
  lines: ["Handed over to SAP as 00420117.", "00420117 | waits for a free background process", "Asked again at 14:02:00."],
  cut: true,
  problem: null,
});

// ----------------------------------------------------------------------------------------------------- what people do

export const me = (may: boolean = true): Me => ({
  name: "m.keller",
  streams: overview().streams.map(({ dag_id, title }) => ({ dag_id, title, may_act: may })),
});

const offer = (action: Offer["action"], more: Partial<Offer> = {}): Offer => ({
  action,
  allowed: true,
  why_not: null,
  needs: [],
  outputs: {},
  optional_outputs: {},
  targets: [],
  confirm: false,
  ...more,
});

const not = (action: Offer["action"], why: string): Offer => offer(action, { allowed: false, why_not: why });

export const actions = (held: Record<string, HeldJob[]> = {}): InstanceActions => ({
  held_jobs: held,
  as_of: NOW,
  may_act: true,
  instance: [
    offer("hold", { needs: ["until"] }),
    not("release", "no step of ORD-000042 is held"),
    offer("cancel"),
    not("retry", "no step of ORD-000042 failed"),
    offer("params", { needs: ["params"] }),
    offer("priority", { needs: ["priority"] }),
    offer("due", { needs: ["due_at"] }),
    offer("acknowledge"),
  ],
  steps: {
    book_order: [
      not("hold", "“Book the order” cannot be held: it is done; hold a step that comes after it"),
      offer("restart", { confirm: true }),
    ],
    post_invoice: [
      not("hold", "“Post the invoice” cannot be held: it is at work; hold a step that comes after it"),
      not("release", "“Post the invoice” is not held: it is at work"),
      offer("skip"),
      offer("complete", { needs: ["outputs"], outputs: { document: "string", lines: "integer" }, optional_outputs: { rc: "integer", warning: "boolean" } }),
      offer("cancel"),
      not("retry", "“Post the invoice” did not fail: it is at work"),
    ],
    route: [offer("override", { needs: ["targets"], targets: [["approve", "Release a large order"], ["provision", "Provision in the data centre"], ["provision_cloud", "Provision with the partner"]].map(([id, title]) => ({ id: id!, title: title! })), confirm: true })],
    provision: [offer("hold", { needs: ["until"] }), not("release", "“Provision in the data centre” is not held: its turn has not come"), offer("skip"), offer("complete", { needs: ["outputs"], outputs: { service: "string", nodes: "integer", ready: "boolean" } })],
  },
});

export const heldJob = (more: Partial<HeldJob> = {}): HeldJob => ({
  map_index: -1,
  job: "00420117 on sap://erp",
  what: "hold",
  state: "requested",
  text: "hold requested of sap://erp",
  at: at(-2),
  ...more,
});

const name = (id: string) => {
  const [, title, , on] = STEPS.find(([step]) => step === id) ?? [id, id, "", "logic"];
  return { id, title, stack: stack(on) };
};

/** What each action would do, as far as a dialog shows it. */
export function previews(): Record<string, ActionPreview> {
  const now = { p50: at(48), p90: at(84), instances: 187, enough: true };
  const later = (minutes: number) => ({ ...now, p50: at(48 + minutes), p90: at(84 + minutes) });
  const made = (sentence: string, more: Partial<ActionPreview> = {}): ActionPreview => ({
    version: "v1",
    allowed: true,
    refusals: [],
    sentence,
    effects: [],
    cannot_be_undone: [],
    compensations: [],
    confirmations: [],
    forecast_before: now,
    forecast_after: now,
    due_at: at(10),
    will_be_late: true,
    ...more,
  });
  return {
    hold: made("“Provision in the data centre” is held: nothing of it is handed over, and it takes no worker.", {
      effects: [{ step: name("provision"), map_index: -1, what: "held", text: "it does not begin", job: null }],
      forecast_after: null,
      will_be_late: null,
    }),
    skip: made("“Post the invoice” is skipped, unless its job ends well before that can be asked for.", {
      effects: [
        { step: name("post_invoice"), map_index: -1, what: "cancelled", text: "the end of job 00420117 is asked for, and the step waits until that is proven", job: "job 00420117" },
        { step: name("post_invoice"), map_index: -1, what: "skipped", text: "is skipped, unless its job ends well before that can be asked for", job: null },
        { step: name("provision"), map_index: -1, what: "runs", text: "it no longer waits for the invoice", job: null },
      ],
      cannot_be_undone: ["“Post the invoice”: what job 00420117 did until its end stays"],
      forecast_after: later(-31),
    }),
    complete: made("“Post the invoice” counts as done, unless its job ends well before that can be asked for.", {
      effects: [{ step: name("post_invoice"), map_index: -1, what: "completed", text: "with document = 90012345, lines = 4", job: null }],
      forecast_after: later(-38),
      will_be_late: false,
    }),
    cancel: made("“Post the invoice” is cancelled, and fails.", {
      effects: [{ step: name("post_invoice"), map_index: -1, what: "cancelled", text: "the end of job 00420117 is asked for, and the step waits until that is proven", job: "job 00420117" }],
      cannot_be_undone: ["“Post the invoice”: what job 00420117 did until its end stays"],
      compensations: ["“Book the order” is undone: the order is cancelled on the mainframe"],
      confirmations: [{ token: "undo:book_order", text: "I know that the booking of the order is undone" }],
      forecast_after: null,
      will_be_late: null,
    }),
    restart: made("“Book the order” and the 3 steps that follow it run again.", {
      effects: [
        { step: name("book_order"), map_index: -1, what: "runs_again", text: "a new job is handed over", job: null },
        { step: name("check_stock"), map_index: -1, what: "runs_again", text: "it follows", job: null },
        { step: name("approve"), map_index: -1, what: "runs_again", text: "a person is asked again", job: null },
        { step: name("post_invoice"), map_index: -1, what: "stays", text: "job 00420117 goes on", job: "job 00420117" },
      ],
      cannot_be_undone: ["“Book the order”: what job JOB00042 did stays; the order is booked a second time"],
      confirmations: [{ token: "restart:book_order", text: "“Book the order” is marked “restart: ask”: I have seen to it that a second booking does no harm" }],
      forecast_after: later(64),
    }),
    override: made("“How is it provided?” goes to “Provision with the partner” instead, after the fact; only what is gained runs.", {
      effects: [
        { step: name("route"), map_index: -1, what: "changed", text: "it is decided again, and goes to “Provision with the partner”", job: null },
        { step: name("provision_cloud"), map_index: -1, what: "runs", text: "it lies on the new way", job: null },
        { step: name("provision"), map_index: -1, what: "skipped", text: "it lies on the way that is left", job: null },
        { step: name("approve"), map_index: -1, what: "stays", text: "it ran, and stays as it is", job: null },
      ],
      cannot_be_undone: ["“Release a large order”: the answer of a.berger stays in the record"],
      confirmations: [{ token: "override:route", text: "I override a decision that was carried out already" }],
      forecast_after: later(-14),
    }),
    params: made("ORD-000042: region = 'south' from now on; what has begun keeps the old values.", { effects: [{ step: null, map_index: -1, what: "changed", text: "region = 'south', for 3 steps that have not begun", job: null }] }),
    priority: made("What has not begun of ORD-000042 has priority 900 from now on.", { effects: [{ step: null, map_index: -1, what: "changed", text: "priority 900 for all that has not begun", job: null }] }),
    due: made("ORD-000042 is due at 2026-03-10 15:30 UTC, instead of 2026-03-10 14:12 UTC.", { effects: [{ step: null, map_index: -1, what: "changed", text: "due at 2026-03-10 15:30 UTC, instead of 2026-03-10 14:12 UTC", job: null }], due_at: at(88), will_be_late: false }),
    acknowledge: made("ORD-000042: somebody looks after it.", { effects: [{ step: null, map_index: -1, what: "acknowledged", text: "somebody looks after it", job: null }] }),
    unacknowledge: made("ORD-000042: not acknowledged any more; it was by m.keller."),
    release: made("“Provision in the data centre” goes on when its turn comes.", { effects: [{ step: name("provision"), map_index: -1, what: "released", text: "its own hold ends", job: null }] }),
    retry: made("“Post the invoice” is tried again.", { effects: [{ step: name("post_invoice"), map_index: -1, what: "runs_again", text: "it is tried again now", job: null }] }),
  };
}

export const done = (action: ActionDone["action"] = "hold", sentence = "“Provision in the data centre” is held: nothing of it is handed over, and it takes no worker."): ActionDone => ({
  id: "0123456789abcdef",
  action,
  at: NOW,
  by: "m.keller",
  replayed: false,
  version: "v2",
  sentence,
  effects: [],
});

export const holds = (): Holds => ({
  as_of: NOW,
  items: [
    { id: "h1", scope: "system", name: "sap", title: "SAP", by: "m.keller", reason: "SAP is down for its update until six", at: at(-45), until: at(240), held_steps: 137, may_release: true },
    { id: "h2", scope: "stream", name: "month_end_close", title: "Month-end close", by: "a.berger", reason: "The auditors look at it first", at: at(-600), until: null, held_steps: 12, may_release: false },
  ],
});

export const bulk = (state: Bulk["state"] = "running"): Bulk => ({
  id: "b1",
  action: "hold",
  step: null,
  reason: "SAP is down for its update",
  by: "m.keller",
  at: at(-1),
  state,
  matching: 57,
  may_act: 52,
  total: 52,
  done: state === "dry_run" ? 0 : state === "done" ? 49 : 31,
  refused: state === "dry_run" ? 0 : 2,
  failed: state === "dry_run" ? 0 : state === "done" ? 1 : 0,
  ended_at: state === "done" || state === "stopped" ? NOW : null,
  sentence: state === "dry_run" ? "52 of 57 instances that fit would be held: what has not begun of them." : "52 instances are held: what has not begun of them.",
});

export const bulks = (items: Bulk[] = [bulk()]): Bulks => ({ as_of: NOW, items });

export const bulkResults = (): BulkResults => ({
  total: 52,
  items: Array.from({ length: 20 }, (_, index) => ({
    dag_id: "order_to_certificate",
    run_id: `manual__${index + 1}`,
    key: `ORD-${String(index + 1).padStart(6, "0")}`,
    stream: "Order to certificate of completion",
    outcome: index === 3 || index === 11 ? ("refused" as const) : index < 15 ? ("done" as const) : ("open" as const),
    text: index === 3 || index === 11 ? "every step has begun or is over" : index < 15 ? "4 steps are held" : "",
    at: index < 15 ? at(-1) : null,
  })),
  next_cursor: null,
});
