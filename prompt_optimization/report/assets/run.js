// One run: verdict and prompts first, then how it came about, then where it comes from.
"use strict";

const LAST_STEPS = 10;

// The runs of which all steps are shown.
const whole = new Set();

const ANSWERS = { yes: "better", no: "not better", undecided: "undecided", unmeasured: "not measured" };

// The parts of a run's page in their order: a name, what it is made from, and how.
// A part is made anew only when what it is made from has changed.
const PARTS = [
  ["head", (run) => [run.name, run.status, run.since, run.method, run.variant, run.task, run.model, run.seed, run.error, run.ended, run.rows], runHead],
  ["damage", (run) => run.damage, (run) => card("This log cannot be shown", make("p", {}, run.damage))],
  ["verdict", (run) => run.verdict && [run.verdict, run.objective, run.initial], verdictCard],
  ["now", (run) => run.now && [run.now, run.status], nowLine],
  ["prompts", (run) => run.prompts, promptsCard],
  ["curve", (run) => run.initial && [run.initial, run.list], curveCard],
  ["steps", (run) => run.list && run.list.length && run.list, stepsCard],
  ["costs", (run) => run.budget && [run.budget, run.seconds], costsCard],
  ["held", (run) => run.held_out && run.held_out.length && run.held_out, heldOutCard],
  ["flips", (run) => run.flips && [run.flips, run.written], flipsCard],
  ["writer", (run) => run.written && run.written.writer && run.id, writerCard],
  ["figure", (run) => run.figure, figureCard],
  ["origin", (run) => run.params && [run.template, run.sessions, run.environment, run.params], originCard],
];

// Puts a run into its place on the page, part by part.
function showRun(place, run) {
  for (const [name, source, part] of PARTS) {
    let slot = place.querySelector(`:scope > [data-part=${name}]`);
    if (!slot) place.append((slot = make("div", { "data-part": name })));
    const value = source(run);
    const told = value ? JSON.stringify(value) : "";
    if (slot.told === told) continue;
    slot.told = told;
    slot.replaceChildren(...(told ? [part(run)].flat() : []));
  }
}

function statusBadge(run) {
  if (run.damage) return make("span", { class: "badge damaged" }, "damaged");
  return make("span", { class: `badge ${run.status}` }, run.status);
}

function answerBadge(verdict) {
  return make("span", { class: `badge ${verdict.answer}` }, ANSWERS[verdict.answer]);
}

function searchName(run) {
  return run.variant ? `${run.method} (${run.variant})` : run.method;
}

function runHead(run) {
  const facts = run.damage ? [] : [
    searchName(run), run.task, run.model, `seed ${run.seed}`,
    ...Object.entries(run.rows || {}).map(([split, rows]) => `${rows} ${split} rows`)];
  const since = run.since ? `since ${moment(run.since)}` : "";
  const ended = run.status === "finished" && run.ended ? `; the search ended by ${run.ended}` : "";
  return [
    make("h2", { class: "name" }, run.name),
    make("p", { class: "facts" }, statusBadge(run), ` ${since}${ended}`),
    make("p", { class: "facts quiet" }, facts.join(" · ")),
    run.error ? make("p", { class: "error" }, `error: ${run.error}`) : null,
  ].filter(Boolean);
}

function verdictCard(run) {
  const { verdict } = run;
  const node = make("section", { class: `card verdict ${verdict.answer}` }, make("p", { class: "sentence" }, verdict.sentence));
  if (verdict.gain) {
    const [, low, high] = verdict.gain;
    const far = Math.max(1, Math.abs(low), Math.abs(high)) * 1.1;
    const line = (name, values, scale, words) => [
      make("dt", {}, name), make("dd", {}, interval(...values, scale)), make("dd", { class: "number" }, words)];
    node.append(make("dl", { class: "estimates" },
      line("initial prompt", verdict.initial, [0, 100], estimate(verdict.initial, rounded, " %")),
      line("found prompt", verdict.found, [0, 100], estimate(verdict.found, rounded, " %")),
      line("gain", verdict.gain, [-far, far], estimate(verdict.gain, signed))));
    node.append(make("p", { class: "quiet" },
      `Intervals hold 95 %. They are over the ${verdict.rows} test rows of this one search; another search may find another prompt.`));
  } else if (run.objective) {
    node.append(make("p", {}, `Training objective so far: ${improvement(run.objective)}. `,
      make("span", { class: "quiet" }, "The search chooses by these rows, so this is no evidence.")));
  }
  return node;
}

function nowLine(run) {
  const { phase, done, of, since } = run.now;
  const amount = of ? `${done} of ${of} rows` : "";
  const tense = run.status === "running" ? "Now" : "When it stopped";
  return make("p", { class: "now" }, `${tense}: ${phase} `, of ? make("progress", { value: done, max: of, "aria-label": phase }) : null,
    ` ${amount} `, make("span", { class: "quiet" }, `since ${moment(since)}`));
}

function promptsCard(run) {
  const { initial, found, diff, elected, measured, last } = run.prompts;
  const how = elected ? "elected on dev rows" : measured ? "best on training rows" : "best so far on training rows";
  const same = initial === found;
  const side = (title, note, text, shown) => make("div", { class: "prompt" },
    make("div", { class: "bar" }, make("h3", {}, title, " ", make("span", { class: "quiet" }, note)), copyButton(text)),
    prose(pieces(diff, shown)));
  return card("Prompts",
    make("div", { class: "pair" },
      side("Found", same ? "the initial one" : how, found, ["same", "new"]),
      side("Initial", same ? "" : "words that are gone are struck out", initial, ["same", "gone"])),
    last ? make("div", { class: "last" }, make("h3", {}, "Last change ", make("span", { class: "quiet" }, `of the incumbent, step ${last.step}`)),
      prose(pieces(last.diff, ["same", "gone", "new"]))) : null);
}

function curveCard(run) {
  const legend = make("p", { class: "legend" },
    make("span", { class: "key incumbent" }), "incumbent", make("span", { class: "key best" }), "best so far",
    make("span", { class: "key tried" }), "tried", make("span", { class: "key taken" }), "tried and taken");
  const rows = [run.initial, ...run.list].map((each) => each.samples);
  const [least, most] = [Math.min(...rows), Math.max(...rows)];
  const seen = least === most ? most : `${least} to ${most}`;
  const plot = (key, title) => make("figure", {}, make("figcaption", {}, title), progressChart(run, run.list, key, title));
  return card("Search", make("div", { class: "pair" },
    plot("objective", `objective on ${seen} training rows`),
    run.initial.mistakes === null ? null : plot("mistakes", "share of mistakes on training rows")), legend);
}

function stepsCard(run) {
  const node = card("Steps");
  const fill = () => {
    const steps = whole.has(run.id) ? run.list : run.list.slice(-LAST_STEPS);
    const rest = run.list.length - steps.length;
    node.replaceChildren(node.firstChild, table(STEP_COLUMNS, [...steps].reverse().map(stepRow), { class: "steps" }));
    if (rest) {
      node.append(make("button", { type: "button", onclick: () => { whole.add(run.id); fill(); } }, `Show the ${rest} steps before`));
    }
  };
  fill();
  return node;
}

const STEP_COLUMNS = [
  { name: "step", number: true }, { name: "incumbent" }, { name: "objective", number: true },
  { name: "tried" }, { name: "seconds", number: true },
];

function stepRow(step) {
  const state = step.accepted ? make("span", { class: "badge taken" }, "taken") : make("span", { class: "quiet" }, "kept");
  const change = step.accepted ? make("div", { class: "change" }, pieces(step.change, ["same", "gone", "new"])) : null;
  const where = Number.isInteger(step.where) ? make("span", { class: "quiet" }, `at ${step.where}: `) : null;
  const tried = make("ul", { class: "tried" }, step.tried.map((each) => make("li", { class: each.taken ? "taken" : null },
    clipped(each.label.trim() ? each.label : JSON.stringify(each.label)), " ",
    make("span", { class: "value" }, each.capped ? `≥ ${fixed(each.objective)}, given up` : fixed(each.objective)))));
  const dropped = Object.entries(step.dropped).map(([why, many]) => `${many} ${why}`);
  return [
    String(step.step), make("div", {}, state, change), fixed(step.objective),
    make("div", {}, where, step.tried.length ? tried : "nothing",
      step.events.map((event) => make("p", { class: "event" }, event)),
      dropped.length ? make("p", { class: "quiet" }, `not used: ${dropped.join(", ")}`) : null),
    step.seconds.toFixed(1)];
}

function costsCard(run) {
  const parts = Object.entries(run.seconds).sort((one, other) => other[1] - one[1]);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const phases = make("div", {}, make("h2", {}, "Seconds by phase"),
    parts.length ? [shares(parts), make("dl", { class: "phases" }, parts.flatMap(([name, value], number) => [
      make("dt", {}, make("span", { class: `key part${number % 6}` }), name),
      make("dd", { class: "number" }, duration(value)), make("dd", { class: "number quiet" }, `${rounded((100 * value) / (total || 1))} %`)]))]
      : make("p", { class: "quiet" }, "No step is finished yet."));
  const spent = make("div", {}, make("h2", {}, "Budget used"), make("dl", { class: "budget" }, run.budget.flatMap(({ name, spent: used, limit }) => [
    make("dt", {}, name),
    make("dd", {}, limit ? make("progress", { value: Math.min(used, limit), max: limit, "aria-label": name }) : null),
    make("dd", { class: "number" }, limit ? `${count(used)} of ${count(limit)}` : count(used))])));
  return make("section", { class: "card pair" }, phases, spent);
}

function heldOutCard(run) {
  const rows = run.held_out.map(({ where, prompt, by, value, low, high, n }) => [
    where, clipped(prompt), String(n), interval(value, low, high, [0, 1]),
    `${estimate([100 * value, 100 * low, 100 * high], rounded, " %")} ${by}`]);
  return card("On rows that the search has not seen", table(
    [{ name: "split" }, { name: "prompt" }, { name: "rows", number: true }, { name: "0 to 100 %" }, { name: "value", number: true }],
    rows, { class: "held" }));
}

function flipsCard(run) {
  const { won, lost, same } = run.flips;
  const one = (number) => run.written.rows
    ? fold(`row ${number}`, () => transcript(run.id, number), { class: "row" })
    : make("span", { class: "chip" }, `row ${number}`);
  const list = (title, numbers, kind) => make("div", {},
    make("h3", { class: kind }, `${title}: ${numbers.length}`), numbers.map(one));
  return card("Test rows that flipped",
    make("p", { class: "quiet" }, `${same} rows are worth the same under both prompts.`),
    make("div", { class: "pair" }, list("Won", won, "yes"), list("Lost", lost, "no")));
}

// What the model wrote on one row under each prompt.
async function transcript(id, number) {
  const written = (await source.transcripts(id)).rows.filter((each) => each.row === number);
  if (!written.length) return make("p", { class: "quiet" }, "Nothing was kept of this row.");
  return make("div", { class: "transcript" },
    make("h4", {}, "question"), prose(written[0].question),
    make("h4", {}, "reference"), prose(written[0].reference),
    written.flatMap((each, place) => [
      make("h4", {}, `reasoning under the ${place ? "found" : "initial"} prompt`), prose(each.reasoning),
      make("h4", {}, `answer under the ${place ? "found" : "initial"} prompt`), prose(each.answer)]));
}

function writerCard(run) {
  return card("", fold("What the writer was asked and answered", async () => {
    const { writer, earlier } = await source.transcripts(run.id);
    return make("div", {},
      earlier ? make("p", { class: "quiet" }, `The first ${earlier} requests are not shown.`) : null,
      writer.map(({ step, request, replies }, number) => {
        const when = step < 0 ? "before the first step" : `step ${step + 1}`;
        return fold(`request ${earlier + number + 1}, ${when}`, () => make("div", { class: "transcript" },
          make("h4", {}, "request"), prose(request),
          replies.flatMap((reply) => [make("h4", {}, "reply"), prose(reply)])));
      }));
  }));
}

function figureCard(run) {
  const { heading, y, note } = run.figure;
  return card("", make("figure", {}, make("figcaption", {}, `${heading} (upwards: ${y})`), scatterChart(run.figure)), note ? make("p", { class: "quiet" }, note) : null);
}

function originCard(run) {
  const settings = (values) => () => table([{ name: "key" }, { name: "value" }],
    Object.entries(values).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]), { class: "keys" });
  return card("", fold("Where prompt and question stand", () => make("div", {}, run.template.map(({ role, content }) =>
    make("div", {}, make("h4", {}, role), prose(content))))),
    fold("Sessions", () => make("div", {}, run.sessions.map((session) => settings(session)()))),
    fold("Environment", settings(run.environment)), fold("Config", settings(run.params)));
}
