// The near-duplicates of a dataset, groups of pictures that are copies of each other: looked for only when the section is unfolded.
import { ROOT, get } from "./api.js";
import { el, fill, fold, group, many } from "./page.js";

/** Return the section; `shot` makes the card of an example. Among 100,000 pictures the answer takes some seconds. */
export function nearDuplicates(dataset, shot) {
  const place = el("div");
  const load = () => fill(place, () => get(`${ROOT}/v1/datasets/${dataset.id}/duplicates`), (found) => show(found, shot), load);
  const section = fold("Look for them", place);
  section.addEventListener("toggle", () => { if (section.open && !place.hasChildNodes()) load(); });
  return group("Near-duplicates", "Copies that were compressed, resized or cropped a little. A training keeps a group of one label in one split.",
    section);
}

function show({ groups, total, contradicting, across, uncompared }, shot) {
  const told = [total ? many(total, "group") : "No picture is nearly a copy of another one", contradicting ? `${contradicting} with different labels` : "",
    across ? `${across} in several splits` : ""].filter(Boolean).join(", ");
  const shown = groups.length < total ? ` The first ${groups.length} are shown.` : "";
  const without = uncompared ? ` ${many(uncompared, "picture")} could not be compared.` : "";
  return [el("p", {}, `${told}.${shown}${without}`), groups.map((one) => el("div", { class: "card" },
    one.labels.length > 1 ? el("p", { class: "wrong" }, `Different labels: ${one.labels.join(", ")}. A copy with another label teaches neither.`) : null,
    one.splits.length > 1 ? el("p", { class: "wrong" }, `In several splits: ${one.splits.join(", ")}. The test then asks for what was learned.`) : null,
    el("div", { class: "shots" }, one.examples.map(shot))))];
}
