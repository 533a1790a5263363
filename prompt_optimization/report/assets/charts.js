// Plots as SVG of the width that they have. Each shows the values of the point under the pointer;
// arrow keys go from point to point.
"use strict";

const MARGIN = { left: 48, right: 12, top: 10, bottom: 34 };

// A plot that is drawn anew when its width changes.
// plot(width) returns {svg, points}, the points as {x, y, text} in the svg's own coordinates.
function chart(label, plot) {
  const tip = make("div", { class: "tip", hidden: true });
  const box = make("div", { class: "chart", tabindex: "0", role: "img", "aria-label": label }, tip);
  let points = [], chosen = -1, width = 0;
  const show = (number) => {
    chosen = number;
    const point = points[number];
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = point.text;
    tip.style.left = `${Math.max(0, Math.min(point.x + 10, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${point.y + 10}px`;
  };
  const nearest = (event) => {
    const frame = box.getBoundingClientRect();
    const away = points.map((point) =>
      Math.hypot(point.x - event.clientX + frame.left, point.y - event.clientY + frame.top));
    const least = Math.min(...away);
    show(least < 30 ? away.indexOf(least) : -1);
  };
  box.addEventListener("pointermove", nearest);
  box.addEventListener("pointerdown", nearest);
  box.addEventListener("pointerleave", () => show(-1));
  box.addEventListener("blur", () => show(-1));
  box.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || !points.length) return;
    event.preventDefault();
    show((chosen + way + points.length) % points.length);
  });
  new ResizeObserver(() => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    const made = plot(width);
    points = made.points;
    box.replaceChildren(made.svg, tip);
  }).observe(box);
  return box;
}

// Axes for points between the given ends, with what turns values into places.
function axes(width, height, [left, right], [low, high], names, whole = false) {
  const room = { x: width - MARGIN.left - MARGIN.right, y: height - MARGIN.top - MARGIN.bottom };
  if (high === low) [low, high] = [low - 0.5, high + 0.5];
  const at = {
    x: (value) => MARGIN.left + (room.x * (value - left)) / (right - left || 1),
    y: (value) => MARGIN.top + room.y * (1 - (value - low) / (high - low)),
  };
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const { values, digits } = ticks(low, high, Math.max(2, Math.floor(room.y / 45)));
  for (const value of values) {
    svg.append(
      draw("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at.y(value), y2: at.y(value) }),
      draw("text", { x: MARGIN.left - 6, y: at.y(value) + 4, "text-anchor": "end" }, value.toFixed(digits)));
  }
  const along = ticks(left, right, Math.max(2, Math.floor(room.x / 70)), whole ? 1 : 0);
  for (const value of along.values) {
    svg.append(draw("text", { x: at.x(value), y: height - 18, "text-anchor": "middle" }, value.toFixed(along.digits)));
  }
  svg.append(draw("text", { class: "axis", x: MARGIN.left + room.x / 2, y: height - 3, "text-anchor": "middle" }, names.x));
  return { svg, at };
}

// Round values between two ends, about `number` of them and at least `least` apart.
function ticks(low, high, number, least = 0) {
  const rough = (high - low || 1) / number;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, power * [1, 2, 5, 10].find((factor) => factor * power >= rough));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const values = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) values.push(Math.abs(value) < step / 2 ? 0 : value);
  return { values, digits };
}

// Objective or mistakes of the incumbent and of the best one so far, and of all that was tried.
function progressChart(run, steps, key, what) {
  const incumbents = [run.initial, ...steps].map((each) => each[key]);
  const bests = [run.initial, ...steps.map((step) => step.best)].map((each) => each[key]);
  const dots = key !== "objective" ? [] : steps.flatMap((step) => step.tried
    .filter((each) => !each.capped)
    .map((each) => ({ step: step.step, value: each.objective, each })));
  const summary = `${what} by step, from ${fixed(incumbents[0])} to ${fixed(bests[bests.length - 1])}`;
  return chart(summary, (width) => {
    const all = [...incumbents, ...bests, ...dots.map((dot) => dot.value)].filter(Number.isFinite);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const room = (high - low) * 0.06;
    let ends = [low - room, high + room];
    // A share stays within 0 and 1.
    if (key === "mistakes") ends = room ? [Math.max(0, ends[0]), Math.min(1, ends[1])] : [0, 1];
    const { svg, at } = axes(width, 230, [0, Math.max(1, steps.length)], ends, { x: "step" }, true);
    const points = [];
    for (const { step, value, each } of dots) {
      const [x, y] = [at.x(step), at.y(value)];
      svg.append(draw("circle", { class: each.taken ? "tried taken" : "tried", cx: x, cy: y, r: 3 }));
      points.push({ x, y, text: `step ${step}: ${fixed(value)}${each.taken ? ", taken" : ""}\n${each.label.trim()}` });
    }
    for (const [kind, values] of [["best", bests], ["incumbent", incumbents]]) {
      const path = values.map((value, step) =>
        step ? `H${at.x(step)}V${at.y(value)}` : `M${at.x(0)} ${at.y(value)}`).join("");
      svg.append(draw("path", { class: kind, d: path }));
    }
    incumbents.forEach((value, step) => points.push({
      x: at.x(step), y: at.y(value),
      text: `${step ? `after step ${step}` : "initial prompt"}: ${fixed(value)}; best so far ${fixed(bests[step])}`,
    }));
    return { svg, points: points.sort((one, other) => one.x - other.x) };
  });
}

// Points of a method's own figure.
function scatterChart(figure) {
  return chart(`${figure.heading}, ${figure.points.length} points`, (width) => {
    const ends = (place) => {
      const values = figure.points.map((point) => point[place]);
      const [low, high] = [Math.min(...values, 0), Math.max(...values, 0)];
      return [low - (high - low) * 0.06, high + (high - low) * 0.06];
    };
    const { svg, at } = axes(width, 230, ends(0), ends(1), { x: figure.x });
    svg.append(draw("line", { class: "zero", x1: MARGIN.left, x2: width - MARGIN.right, y1: at.y(0), y2: at.y(0) }));
    const points = figure.points.map(([x, y]) => ({ x: at.x(x), y: at.y(y), text: `${fixed(x)}, ${fixed(y)}` }));
    svg.append(...points.map(({ x, y }) => draw("circle", { class: "tried", cx: x, cy: y, r: 3 })));
    return { svg, points };
  });
}

// A value with its interval, on a scale from low to high.
function interval(value, low, high, [from, to], kind) {
  const at = (each) => `${Math.min(100, Math.max(0, (100 * (each - from)) / (to - from || 1)))}%`;
  return draw("svg", { class: `interval ${kind || ""}`, width: "100%", height: 18, "aria-hidden": "true" },
    from < 0 && to > 0 ? draw("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: 18 }) : null,
    draw("line", { class: "reach", x1: at(low), x2: at(high), y1: 9, y2: 9 }),
    draw("line", { class: "reach", x1: at(low), x2: at(low), y1: 5, y2: 13 }),
    draw("line", { class: "reach", x1: at(high), x2: at(high), y1: 5, y2: 13 }),
    draw("circle", { cx: at(value), cy: 9, r: 4.5 }));
}

// Parts of a whole, side by side.
function shares(parts) {
  const total = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  let start = 0;
  return draw("svg", { class: "shares", width: "100%", height: 22, "aria-hidden": "true" },
    parts.map(([, value], number) => {
      const bar = draw("rect", { class: `part${number % 6}`, x: `${start}%`, width: `${(100 * value) / total}%`, height: 22 });
      start += (100 * value) / total;
      return bar;
    }));
}
