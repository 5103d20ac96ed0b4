// Charts over time as SVG: lines with gaps where nothing is known; the pointer and the arrow keys read them.
import { draw, el } from "./page.js";

const WIDTH = 420;
const HEIGHT = 190;
const EDGE = { left: 46, right: 12, top: 14, bottom: 24 };
const LABELS = 4; // times below the axis

/**
 * Return a chart. `lines` are { name, kind, values }, `times` the beginning of each value, `written` makes a text of a
 * value; the text beside the title is the last value, or the one that is pointed at.
 */
export function chart({ title, lines, times, written }) {
  const known = lines.flatMap((line) => line.values.filter((value) => value != null));
  const top = roof(Math.max(0, ...known));
  const x = (index) => EDGE.left + (index / Math.max(1, times.length - 1)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
  const mark = draw("line", { class: "mark", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  const says = el("p", { class: "reads", "aria-live": "off" });
  const said = (index) => lines.map((line) => [el("i", { class: line.kind }), line.name, " ",
    el("b", {}, line.values[index] == null ? "–" : written(line.values[index]))]).map((parts) => el("span", {}, parts));
  const last = lastKnown(lines, times.length);
  const read = (index) => {
    says.replaceChildren(...said(index), el("span", { class: "at" }, clock(times[index])));
    mark.setAttribute("visibility", index === last ? "hidden" : "visible");
    for (const end of ["x1", "x2"]) mark.setAttribute(end, x(index));
  };
  let at = last;
  const go = (index) => { at = Math.max(0, Math.min(times.length - 1, index)); read(at); };
  const svg = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": summary(title, lines, written, last),
    onpointermove: (event) => go(nearest(event, svg, times.length)),
    onpointerleave: () => go(last),
    onblur: () => go(last),
    onkeydown: (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      go(at + step);
    },
  }, grid(top, y, written), axis(times, x), lines.map((line) => paths(line, x, y)), mark);
  read(last);
  return el("figure", { class: "chart" }, el("figcaption", {}, title), svg,
    known.length ? says : el("p", { class: "reads" }, "Nothing in this time."));
}

/** Return bars for counts by size, such as { size: 8, count: 120 }, with the share of each. */
export function histogram({ title, bars, unit, about }) {
  const most = Math.max(1, ...bars.map((bar) => bar.count));
  const room = HEIGHT - EDGE.top - EDGE.bottom;
  const wide = (WIDTH - EDGE.right) / Math.max(8, bars.length);
  const parts = bars.flatMap(({ name, count }, index) => {
    const high = count && Math.max(1, (count / most) * room);
    const middle = (index + 0.5) * wide;
    return [
      draw("rect", { class: "column", x: index * wide + wide * 0.15, width: wide * 0.7, y: HEIGHT - EDGE.bottom - high, height: high, rx: 2 }),
      draw("text", { class: "tick", x: middle, y: HEIGHT - 8, "text-anchor": "middle" }, name),
    ];
  });
  const label = bars.map(({ name, count }) => `${name}: ${count.toLocaleString("en")} ${unit}`).join(", ");
  const foot = draw("line", { class: "rule", x1: 0, x2: WIDTH - EDGE.right, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom });
  return el("figure", { class: "chart" }, el("figcaption", {}, title),
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${label || "Nothing."}` }, foot, parts),
    el("p", { class: "reads" }, bars.length ? about : "Nothing in this time."));
}

function lastKnown(lines, count) {
  for (let index = count - 1; index > 0; index -= 1) {
    if (lines.some((line) => line.values[index] != null)) return index;
  }
  return count - 1;
}

function summary(title, lines, written, last) {
  const ends = lines.map((line) => {
    const known = line.values.filter((value) => value != null);
    if (!known.length) return `${line.name}: nothing`;
    const now = line.values[last] == null ? "nothing" : written(line.values[last]);
    return `${line.name}: last ${now}, at most ${written(Math.max(...known))}`;
  });
  return `${title}. ${ends.join("; ")}. The arrow keys read it.`;
}

function nearest(event, svg, count) {
  const box = svg.getBoundingClientRect();
  const inside = ((event.clientX - box.left) / box.width) * WIDTH - EDGE.left;
  return Math.round((inside / (WIDTH - EDGE.left - EDGE.right)) * (count - 1));
}

/** Return a line; where values are missing it is broken, and a value by itself is a dot. */
function paths({ kind, values }, x, y) {
  const runs = [];
  values.forEach((value, index) => {
    if (value == null) return;
    if (index && values[index - 1] != null) runs.at(-1).push([x(index), y(value)]);
    else runs.push([[x(index), y(value)]]);
  });
  return runs.map((run) => (run.length === 1
    ? draw("circle", { class: `dot ${kind}`, cx: run[0][0], cy: run[0][1], r: 2 })
    : draw("polyline", { class: `line ${kind}`, points: run.map((spot) => spot.map(short).join(",")).join(" ") })));
}

function grid(top, y, written) {
  const texts = new Set(); // a half that is written as the whole would be a second line of the same value
  return [0, top, top / 2].filter((value) => !texts.has(written(value)) && texts.add(written(value))).flatMap((value) => [
    draw("line", { class: "rule", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }),
    draw("text", { class: "tick", x: EDGE.left - 7, y: y(value) + 4, "text-anchor": "end" }, written(value)),
  ]);
}

function axis(times, x) {
  const step = (times.length - 1) / (LABELS - 1);
  return Array.from({ length: LABELS }, (_, number) => {
    const index = Math.round(number * step);
    const anchor = number === 0 ? "start" : number === LABELS - 1 ? "end" : "middle";
    return draw("text", { class: "tick", x: x(index), y: HEIGHT - 7, "text-anchor": anchor }, clock(times[index]));
  });
}

function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

function short(value) {
  return Math.round(value * 10) / 10;
}

/** Return a round number that is at least `most`. */
function roof(most) {
  if (most <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 5, 10].find((factor) => factor * size >= most * 0.9999) * size;
}
