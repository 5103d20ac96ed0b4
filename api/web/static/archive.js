// The upload of an archive of label folders or with a table of labels, by drop or choice.
import { upload } from "./api.js";
import { act, dropping, el, moving } from "./page.js";

/** Return the drop area and its messages; the archive is posted to `path` in a form, and `done` gets the answer. */
export function archive(path, form, done) {
  const file = el("input", { type: "file", accept: ".zip,.tar,.tgz,.gz,.bz2,.tbz2,.xz,.txz" });
  const says = el("div", { class: "sends", "aria-live": "polite" });
  const area = el("label", { class: "drop" }, file, el("strong", {}, "Drop an archive here"),
    el("span", {}, "or choose one: a zip or tar with a folder of pictures for each label, or with pictures and labels.csv"));
  dropping(area, ([chosen]) => act(file, says, async () => done(await send(path, chosen, form(), says))));
  return [area, says];
}

function send(path, chosen, form, says) {
  form.append("file", chosen);
  const tell = (share) => {
    const now = share < 1 ? `Uploading ${chosen.name}` : "Uploaded; the service is checking it …";
    says.replaceChildren(...moving(now, share, "Progress of the upload"));
  };
  tell(0);
  return upload(path, form, tell);
}
