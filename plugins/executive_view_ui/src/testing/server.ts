import { http, HttpResponse } from "msw";
import { setupServer } from "msw/node";

import * as samples from "./samples";

const API = "*/enterprise-orch/api/v1";

/** The API on a busy afternoon. A test says what is different. */
export const server = setupServer(
  http.get(`${API}/overview`, () => HttpResponse.json(samples.overview())),
  http.get(`${API}/facets`, () => HttpResponse.json(samples.facets())),
  http.get(`${API}/instances`, () => HttpResponse.json(samples.page(1, 50, 50, null))),
  http.get(`${API}/events`, () => HttpResponse.json(samples.events())),
  http.get(`${API}/orphans`, () => HttpResponse.json({ as_of: samples.NOW, total: 0, items: [] })),
  http.get(`${API}/me`, () => HttpResponse.json(samples.me())),
  http.get(`${API}/bulk`, () => HttpResponse.json(samples.bulks([]))),
  http.get(`${API}/bulk/:bulk`, () => HttpResponse.json(samples.bulk())),
  http.get(`${API}/bulk/:bulk/results`, () => HttpResponse.json(samples.bulkResults())),
  http.get(`${API}/holds`, () => HttpResponse.json(samples.holds())),
  http.get(`${API}/dags/:dag/dagRuns/:run/actions`, () => HttpResponse.json(samples.actions())),
  http.post(`${API}/dags/:dag/dagRuns/:run/actions/preview`, async ({ request }) => {
    const { action } = (await request.json()) as { action: string };
    return HttpResponse.json(samples.previews()[action]);
  }),
  http.get(`${API}/dags/:dag/dagRuns/:run`, () => HttpResponse.json(samples.instance())),
  http.get(`${API}/dags/:dag/dagRuns/:run/steps/:step/log`, () => HttpResponse.json(samples.log())),
  http.get(`${API}/streams/:dag`, () => HttpResponse.json(samples.streamDetail())),
  http.get(`${API}/streams/:dag/statistics`, () => HttpResponse.json(samples.statistics())),
  http.get(`${API}/streams/:dag/versions`, () => HttpResponse.json(samples.versions())),
  http.get(`${API}/streams/:dag/versions/:old/:new`, () => HttpResponse.json(samples.comparison())),
  http.get(`${API}/streams/:dag/runs-ahead`, () => HttpResponse.json(samples.runsAhead())),
);

export const refuse = (path: string, status: number, detail: string) =>
  http.get(`${API}${path}`, () => HttpResponse.json({ type: "about:blank", title: "No", status, detail }, { status }));

export { API, http, HttpResponse };
