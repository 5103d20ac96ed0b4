// The near-duplicates of a dataset, groups of pictures that are copies of each other: looked for only while the section is unfolded.
import { ROOT, get } from "./api.js";
import { el, fill, fold, group, many } from "./page.js";

const SHOWN = 24; // of a group

/**
 * Return the section, and a function that shows it anew after a change. `shot` makes the card of an example. Among
 * 100,000 pictures the answer takes some seconds.
 */
export function nearDuplicates(dataset, shot) {
  const place = el("div");
  const section = fold("Look for them", place);
  const renew = async () => {
    const isHeld = place.contains(document.activeElement);
    if (!section.open) place.replaceChildren();
    else await fill(place, () => get(`${ROOT}/v1/datasets/${dataset.id}/duplicates`), (found) => show(found, shot), renew);
    if (isHeld) (place.querySelector("summary") || section.querySelector("summary")).focus();
  };
  section.addEventListener("toggle", renew);
  const about = "Copies that were compressed, resized or cropped a little. A training keeps a group of one label in one split, "
    + "unless the dataset declares splits.";
  return { section: group("Near-duplicates", about, section), renew };
}

function show({ groups, total, contradicting, across, uncompared }, shot) {
  const told = [total ? many(total, "group") : "No picture is nearly a copy of another one",
    contradicting ? `${contradicting} with different labels` : "", across ? `${across} in several splits` : ""].filter(Boolean).join(", ");
  const shown = groups.length < total ? ` The first ${groups.length} are shown.` : "";
  const without = uncompared ? ` ${many(uncompared, "picture")} could not be compared.` : "";
  return [el("p", {}, `${told}.${shown}${without}`), el("div", { class: "copies" }, groups.map((one) => card(one, shot)))];
}

function card({ labels, splits, examples }, shot) {
  const rest = examples.length - SHOWN;
  const declared = splits.map((split) => split || "none declared");
  const spoils = splits.includes("test") ? " The test then asks for what was learned." : "";
  return el("div", { class: examples.length > 2 ? "card wide" : "card" },
    labels.length > 1 ? el("p", { class: "wrong" }, `Different labels: ${labels.join(", ")}. A copy with another label teaches neither.`) : null,
    splits.length > 1 ? el("p", { class: "wrong" }, `In several splits: ${declared.join(", ")}.${spoils}`) : null,
    el("div", { class: "shots" }, examples.slice(0, SHOWN).map(shot)),
    rest > 0 ? el("p", { class: "calm" }, `And ${rest.toLocaleString("en")} more.`) : null);
}
