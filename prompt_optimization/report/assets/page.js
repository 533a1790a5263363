// Which part of the page is shown, and where its data come from: the server that served the page,
// asked again and again, or the page itself.
"use strict";

const PERIOD = 2000;

const inlined = document.getElementById("data");
const source = inlined ? inlinedSource(JSON.parse(inlined.textContent)) : servedSource();
const main = document.getElementById("main");
const notice = document.getElementById("notice");

function inlinedSource(data) {
  return {
    live: false,
    runs: async () => data.runs,
    run: async (id) => data.details[id] || null,
    transcripts: async (id) => data.transcripts[id],
    tables: async () => data.tables,
  };
}

function servedSource() {
  // The last answer: of a path, with its tag and value.
  let held = {};
  // What the server has at a path; null where it has nothing.
  async function get(path) {
    const response = await fetch(path, { cache: "no-cache" });
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${response.status}`);
    const tag = response.headers.get("ETag");
    if (held.path !== path || held.tag !== tag) held = { path, tag, value: await response.json() };
    return held.value;
  }
  return {
    live: true,
    runs: () => get("runs"),
    // Steps that are known are not sent again, unless a resume has taken the run back.
    run: async (id, known) => {
      const first = known && known.list ? known.list.length : 0;
      let run = await get(`runs/${id}?from=${first}`);
      if (run && !run.damage && first && (run.steps < first || run.sessions.length !== known.sessions.length)) {
        run = await get(`runs/${id}?from=0`);
      }
      if (!run || run.damage) return run;
      return { ...run, list: [...(run.first ? known.list : []), ...run.list] };
    },
    transcripts: (id) => get(`runs/${id}/transcripts`),
    tables: () => get("tables"),
  };
}

// --- The list of runs ---

const COLUMNS = ["run", "status", "verdict", "gain", "objective", "steps", "method", "task and model"];

function listView() {
  const filter = make("input", { type: "search", placeholder: "filter", "aria-label": "filter runs" });
  const counted = make("p", { class: "quiet", "aria-live": "polite" });
  const body = make("tbody");
  const rows = new Map();
  const match = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const { node, text } of rows.values()) {
      node.hidden = !words.every((word) => text.includes(word));
      shown += node.hidden ? 0 : 1;
    }
    counted.textContent = !rows.size ? "There is no run below this folder."
      : shown === rows.size ? `${shown} runs, the newest first` : `${shown} of ${rows.size} runs`;
  };
  filter.addEventListener("input", match);
  const node = make("div", {},
    make("div", { class: "bar" }, counted, filter),
    make("div", { class: "wide" }, make("table", { class: "runs" },
      make("thead", {}, make("tr", {}, COLUMNS.map((name) => make("th", { scope: "col" }, name)))), body)),
    tablesFold());
  const update = (runs) => {
    const seen = new Set();
    runs.forEach((run, place) => {
      seen.add(run.id);
      const told = JSON.stringify(run);
      let row = rows.get(run.id);
      if (!row || row.told !== told) {
        const made = { node: listRow(run), told, text: rowText(run) };
        if (row) row.node.replaceWith(made.node);
        rows.set(run.id, (row = made));
      }
      if (body.children[place] !== row.node) body.insertBefore(row.node, body.children[place] || null);
    });
    for (const [id, row] of rows) {
      if (!seen.has(id)) { row.node.remove(); rows.delete(id); }
    }
    match();
  };
  return { node, update };
}

// Tables take their time, so that a served page asks for them only when they are wanted.
function tablesFold() {
  const node = fold("Tables over all results", async () => tablesView(await source.tables()), { class: "tables" });
  node.open = !source.live;
  return node;
}

function rowText(run) {
  return [run.name, run.status, run.damage ? "damaged" : ANSWERS[run.verdict.answer], run.method, run.variant, run.task, run.model].join(" ").toLowerCase();
}

function listRow(run) {
  const link = make("div", {}, make("a", { href: `#run=${run.id}` }, run.name),
    run.prompt ? make("div", { class: "quiet clipped" }, run.prompt) : null);
  const cells = run.damage
    ? [make("div", {}, link, make("div", { class: "quiet" }, run.damage)), statusBadge(run), "", "", "", "", "", ""]
    : [link,
      make("div", {}, statusBadge(run), make("div", { class: "quiet" }, `since ${moment(run.since)}`)),
      answerBadge(run.verdict),
      run.verdict.gain ? estimate(run.verdict.gain, signed) : "",
      run.objective ? improvement(run.objective) : "",
      `${run.steps}${run.max_steps ? ` of ${run.max_steps}` : ""}`,
      searchName(run),
      make("div", {}, run.task, make("div", { class: "quiet" }, run.model))];
  return make("tr", {}, cells.map((cell, place) => make("td", { "data-name": COLUMNS[place] }, cell)));
}

// --- What is shown ---

let view = null;
let turn = 0;
let waiting = null;

// Shows what the address asks for as it is now, unless a later call has overtaken this one.
async function refresh(own) {
  const asked = new URLSearchParams(location.hash.slice(1)).get("run");
  const runs = asked ? null : await source.runs();
  if (own !== turn) return;
  // The only run of a folder needs no list.
  const only = runs && runs.length === 1;
  const id = only ? runs[0].id : asked;
  const kind = id ? `run ${id}` : "list";
  if (!view || view.kind !== kind) {
    view = { kind, run: null, list: id ? null : listView(), place: make("div") };
    main.replaceChildren(...(id
      ? [only ? "" : make("p", {}, make("a", { href: "#", class: "back" }, "← all runs")), view.place, only ? tablesFold() : ""]
      : [view.list.node]));
    window.scrollTo(0, 0);
  }
  if (!id) {
    view.list.update(runs);
    return;
  }
  const run = await source.run(id, view.run);
  if (own !== turn) return;
  view.run = run;
  if (run) showRun(view.place, run);
  else view.place.replaceChildren(make("p", {}, "This run is not here any more."));
}

async function watch() {
  const own = ++turn;
  clearTimeout(waiting);
  try {
    if (!document.hidden || !source.live) await refresh(own);
    if (own === turn) notice.hidden = true;
  } catch (error) {
    if (own !== turn) return;
    notice.textContent = source.live
      ? "No answer from greater view. What is shown may be old. The page asks again."
      : `This page cannot be shown (${error.message}).`;
    notice.hidden = false;
  }
  if (source.live && own === turn) waiting = setTimeout(watch, PERIOD);
}

window.addEventListener("hashchange", watch);
document.addEventListener("visibilitychange", watch);
watch();
