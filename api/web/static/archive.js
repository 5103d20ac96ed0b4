// A place to drop an archive of label folders, from which it is sent to the service.
import { upload } from "./api.js";
import { act, dropping, el, moving } from "./page.js";

/** The place, and one for what there is to say; an archive goes to `path` in a form, and `done` gets the answer. */
export function archive(path, form, done) {
  const file = el("input", { type: "file", accept: ".zip,.tar,.tgz,.gz" });
  const says = el("div", { class: "sends", "aria-live": "polite" });
  const area = el("label", { class: "drop" }, file, el("strong", {}, "Drop an archive here"),
    el("span", {}, "or choose one: a zip, tar or tar.gz with a folder of pictures for each label"));
  dropping(area, ([chosen]) => act(file, says, async () => done(await send(path, chosen, form(), says))));
  return [area, says];
}

function send(path, chosen, form, says) {
  form.append("file", chosen);
  const tell = (share) => {
    const now = share < 1 ? `Sending ${chosen.name}` : "All is sent; the service looks at it …";
    says.replaceChildren(...moving(now, share, "How much is sent"));
  };
  tell(0);
  return upload(path, form, tell);
}
