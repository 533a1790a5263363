// Makes elements, and words for numbers. Texts of logs enter the page here, as text nodes only.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

// An element of HTML. Attributes that begin with "on" are listeners; false and null ones are left out.
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// The same of SVG.
function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

function fixed(value, digits = 3) {
  return Number.isFinite(value) ? value.toFixed(digits) : "–";
}

function count(value) {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u2009");
}

// Rounded as the sentences of the log's verdict are: a half goes to the even digit.
function rounded(value, digits = 1) {
  const scaled = value * 10 ** digits;
  const half = Math.abs(scaled % 1) === 0.5;
  return (half ? (2 * Math.round(scaled / 2)) / 10 ** digits : value).toFixed(digits);
}

function signed(value) {
  const text = rounded(value);
  return value < 0 ? text : `+${text}`;
}

// An estimate with its interval, given in percent or in points.
function estimate([value, low, high], form, unit = "") {
  return `${form(value)}${unit} [${form(low)}, ${form(high)}]`;
}

// What the training objective was and is.
function improvement([before, now]) {
  return `${fixed(before)} → ${fixed(now)}`;
}

function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// A date and time of the log, and the time alone where the day is today's.
function moment(text) {
  const [day, time = ""] = text.split("T");
  const now = new Date();
  const pad = (number) => String(number).padStart(2, "0");
  const today = `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
  return day === today ? time : `${day} ${time}`;
}

// What a table shows: rows of cells, a cell a text or an element. Columns are {name, number}.
function table(columns, rows, attributes = {}) {
  const kind = (column) => (column.number ? "number" : null);
  return make("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "table" },
    make("table", attributes,
      make("thead", {}, make("tr", {},
        columns.map((column) => make("th", { class: kind(column), scope: "col" }, column.name)))),
      make("tbody", {}, rows.map((cells) => make("tr", {}, cells.map((cell, place) =>
        make("td", { class: kind(columns[place]), "data-name": columns[place].name }, cell)))))));
}

function card(title, ...children) {
  return make("section", { class: "card" }, title ? make("h2", {}, title) : null, children);
}

// A fold whose content is made when it is opened for the first time; it may be a promise.
function fold(title, content, attributes = {}) {
  const node = make("details", attributes, make("summary", {}, title));
  node.addEventListener("toggle", () => {
    if (!node.open || node.childElementCount > 1) return;
    const place = make("div", {}, make("p", { class: "quiet" }, "One moment"));
    node.append(place);
    Promise.resolve(content()).then(
      (made) => place.replaceChildren(made),
      () => { place.remove(); node.open = false; });
  });
  return node;
}

// A long text that keeps its line breaks and scrolls by itself.
function prose(...children) {
  return make("div", { class: "prose", tabindex: "0", role: "group", "aria-label": "text" }, children);
}

// The pieces of a word diff; kinds that are not shown are left out.
function pieces(diff, shown) {
  const tags = { same: "span", gone: "del", new: "ins" };
  return diff.filter(([kind]) => shown.includes(kind)).map(([kind, text]) => make(tags[kind], {}, text));
}

function copyButton(text) {
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text)) ? "Copied" : "Select and copy by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// A text of which two lines are shown until it is asked for as a whole.
function clipped(text) {
  if (text.length < 80 && !text.includes("\n")) return make("span", { class: "label" }, text);
  const node = make("button", { type: "button", class: "label clipped", "aria-expanded": "false", title: "show all or less" }, text);
  node.addEventListener("click", () => {
    node.setAttribute("aria-expanded", String(!node.classList.toggle("clipped")));
  });
  return node;
}
