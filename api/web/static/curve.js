// Loss and accuracy over the epochs of a training, drawn again with each epoch; and coverage against accuracy.
import { draw, el, percent } from "./page.js";

const WIDTH = 420;
const HEIGHT = 210;
const EDGE = { left: 50, right: 14, top: 22, bottom: 26 };
const LETTER = 7; // the width of a letter, at most
const DOTTED = 40; // epochs up to which each has a dot
const FEWEST = 5; // fewest epochs on the axis
const LINES = [["train", "training pictures"], ["validation", "validation pictures"]];

/** Return the two diagrams side by side, with a legend. */
export function curves(curve) {
  const shown = LINES.filter(([part]) => curve.some((epoch) => epoch[`${part}_loss`] != null));
  const legend = shown.map(([part, name]) => el("span", { class: part }, el("i"), name));
  return el("div", { class: "curves" },
    panel("Loss", curve, "loss", (value) => value.toPrecision(3)),
    panel("Right answers", curve, "accuracy", (value) => percent(value)),
    el("p", { class: "legend" }, legend));
}

function panel(title, curve, what, written) {
  const values = LINES.flatMap(([part]) => curve.map((epoch) => epoch[`${part}_${what}`]));
  const known = values.filter((value) => value != null);
  const steps = what === "loss" ? ticks(0, Math.max(...known, 0.01)) : ticks(Math.min(0.9, ...known), 1);
  const [low, high] = [steps[0], steps.at(-1)];
  const x = (index) => EDGE.left + (index / Math.max(FEWEST - 1, curve.length - 1)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const parts = [...grid(steps, y, what), ...stages(curve, x)];
  for (const [part] of LINES) parts.push(...line(part, points(curve, `${part}_${what}`, x, y), curve.length));
  const corner = { class: "tick", x: WIDTH - EDGE.right, y: HEIGHT - 6, "text-anchor": "end" };
  parts.push(draw("text", corner, `epoch ${curve.length}`));
  const name = `${title} over ${curve.length} epochs`;
  return el("figure", {},
    el("figcaption", {}, title, el("b", {}, last(curve, what, written))),
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name }, parts));
}

/** Return what share of the answers is right against the share that is believed; `rule` is where the rule of the version is. */
export function tradeoff(points, rule) {
  const steps = ticks(Math.min(0.9, rule.accuracy, ...points.map((point) => point.accuracy)), 1);
  const [low, high] = [steps[0], steps.at(-1)];
  const x = (share) => EDGE.left + share * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const spots = [...points].sort((one, other) => one.coverage - other.coverage).map((point) => [x(point.coverage), y(point.accuracy)]);
  const shares = [[0, "start"], [0.5, "middle"], [1, "end"]].map(([share, anchor]) =>
    draw("text", { class: "tick", x: x(share), y: HEIGHT - 6, "text-anchor": anchor }, percent(share, 0)));
  const place = { cx: x(rule.coverage), cy: y(rule.accuracy) };
  const name = `Right answers against believed answers: of ${percent(rule.coverage)} that are believed, ${percent(rule.accuracy)} are right`;
  return el("figure", {}, el("figcaption", {}, "Right answers", el("b", {}, "of the believed share")),
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name }, grid(steps, y, "accuracy"), shares,
      draw("polyline", { class: "line validation", points: spots.map((spot) => spot.join(",")).join(" ") }),
      draw("circle", { class: "dot validation", ...place, r: 5 })));
}

/** Return the last value, on validation pictures if there are any. */
function last(curve, what, written) {
  const { [`validation_${what}`]: checked, [`train_${what}`]: trained } = curve.at(-1);
  const value = checked ?? trained;
  return value == null ? "" : written(value);
}

function points(curve, name, x, y) {
  return curve.flatMap((epoch, index) => (epoch[name] == null ? [] : [[x(index), y(epoch[name])]]));
}

function line(part, spots, epochs) {
  const made = [draw("polyline", { class: `line ${part}`, points: spots.map((spot) => spot.join(",")).join(" ") })];
  const dots = epochs <= DOTTED ? spots : spots.slice(-1);
  return [...made, ...dots.map(([cx, cy]) => draw("circle", { class: `dot ${part}`, cx, cy, r: 2.4 }))];
}

function grid(steps, y, what) {
  const places = what === "loss" ? Math.max(0, Math.ceil(-Math.log10(steps[1] - steps[0]))) : 0;
  return steps.flatMap((value) => [
    draw("line", { class: "rule", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }),
    draw("text", { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" },
      what === "loss" ? value.toFixed(places) : `${Math.round(value * 100)} %`),
  ]);
}

/** A line where each stage but the first begins, and what each is called, where there are several. */
function stages(curve, x) {
  const begins = curve.flatMap((epoch, index) => (index && epoch.stage === curve[index - 1].stage ? [] : [index]));
  if (begins.length < 2) return [];
  const upright = { class: "stage", y1: EDGE.top - 12, y2: HEIGHT - EDGE.bottom };
  return begins.flatMap((index) => {
    const at = index ? x(index - 0.5) : 0;
    return [
      index ? draw("line", { ...upright, x1: at, x2: at }) : null,
      draw("text", { class: "tick", x: index ? Math.min(at + 5, WIDTH - LETTER * curve[index].stage.length) : EDGE.left, y: EDGE.top - 8 },
        curve[index].stage), // a stage that begins late is named to the left of the edge
    ];
  });
}

/** Round values from at most `low` to at least `high`, evenly spaced. */
function ticks(low, high) {
  const rough = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * size >= rough * 0.999) * size;
  const first = Math.floor(low / step + 1e-9);
  const found = [];
  for (let number = first; !found.length || found.at(-1) < high - 1e-9; number += 1) found.push(number * step);
  return found;
}
