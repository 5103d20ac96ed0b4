// How pictures are prepared for a version: the values in words, and where they come from.
import { el, facts } from "./page.js";

const ORIGINS = {
  published: "as published with the weights",
  recognised: "recognised by the checksum of the file",
  included: "as it lies beside the weights",
  requested: "as the import asked for",
  assumed: "assumed, as the import named none",
};
const USUAL = { mode: "RGB", channel_order: "RGB", crop_offset: "round", background: "", color_profile: "ignore" };

/** Return name -> value in words, without values that change nothing; empty before it is known. */
export function values(preprocessing) {
  const told = Object.entries(preprocessing || {}).filter(([name, value]) =>
    (name === "scale" ? Math.abs(value - 1 / 255) > 1e-9 : USUAL[name] !== value));
  return new Map(told.map(([name, value]) => [name.replaceAll("_", " "), written(name, value)]));
}

/** Return the values of a version as a list, with their origin. */
export function prepared({ preprocessing, preset, training }) {
  if (!preprocessing) return el("p", { class: "calm" }, "Known when a worker has checked the weights.");
  const from = preset ? [preset.name, ORIGINS[preset.origin]].filter(Boolean).join(", ") : training && "as for its base";
  const changed = preset?.changed.length ? `; set by the import: ${preset.changed.join(", ")}` : "";
  const others = preset?.origin === "assumed" ? preset.available.filter((name) => name !== preset.name) : [];
  return [facts([...values(preprocessing)]),
    from ? el("p", { class: "calm" }, `${from[0].toUpperCase()}${from.slice(1)}${changed}.`) : null,
    others.length ? el("p", { class: "calm" }, `The architecture also has ${others.join(", ")}.`) : null];
}

function written(name, value) {
  if (Array.isArray(value)) return value.map(short).join(name === "resize" || name === "crop" ? " × " : ", ");
  return name === "scale" ? value.toPrecision(4) : String(value);
}

function short(value) {
  return String(Math.round(value * 1e6) / 1e6);
}
