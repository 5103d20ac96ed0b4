// A dialog that says what an action changes and what answers afterwards, before it is done.
import { $, act, el } from "./page.js";

const dialog = el("dialog", { class: "asks", "aria-labelledby": "asks-title" });
dialog.addEventListener("close", () => dialog.replaceChildren());

/**
 * Ask with a title and sentences; `fields` are inputs that `work` reads, `does` is the label of the button that runs it;
 * without `does` nothing can be done. An error of `work` is shown in the dialog, which stays open then.
 */
export function ask({ title, says, fields = null, does = "", work }) {
  if (!dialog.isConnected) document.body.append(dialog);
  const wrong = el("div", { "aria-live": "polite" });
  const leave = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, does ? "Cancel" : "Close");
  const go = does ? el("button", { type: "submit" }, does) : null;
  const submit = (event) => {
    event.preventDefault();
    act(go, wrong, async () => {
      await work();
      dialog.close();
      if (document.activeElement === document.body) $("top").focus({ preventScroll: true }); // what was pressed is gone
    });
  };
  dialog.replaceChildren(el("form", { onsubmit: submit }, el("h2", { id: "asks-title" }, title),
    says.filter(Boolean).map((sentence) => el("p", {}, sentence)), fields, wrong, el("p", { class: "actions" }, go, leave)));
  dialog.showModal();
}
