// Tables over all runs: one's own numbers, then published ones where a cell of theirs is measured.
"use strict";

function tablesView(found) {
  if (found.problem) return make("p", { class: "quiet" }, found.problem);
  return make("div", {},
    found.tables.map(({ title, note, columns, rows }) => card(title, note ? make("p", { class: "quiet" }, note) : null, table(columns, rows))),
    found.figures.map((figure) => card(`${figure.method}: ${figure.heading}`, scatterChart(figure),
      make("p", { class: "quiet" }, [`upwards: ${figure.y}`, figure.note].filter(Boolean).join("; ")))),
    found.left_out.length ? fold(`Left out of the tables: ${found.left_out.length}`, () =>
      make("ul", {}, found.left_out.map((reason) => make("li", {}, reason)))) : null);
}
