// A secret that the service shows only once: with a button that copies it, until the reader puts it away.
import { copying, el, verbatim } from "./page.js";

/** Show a secret in `place`, with what is to be known about it, and buttons. */
export function showOnce(place, title, text, about, ...buttons) {
  const code = verbatim(title, text);
  const away = el("button", { type: "button", class: "quiet", onclick: () => place.replaceChildren() }, "Put it away");
  place.replaceChildren(el("section", { class: "card once" }, el("h2", {}, title), el("div", { class: "curl" }, code, copying(code)),
    el("p", { class: "calm" }, "Store it now: it cannot be shown again. ", about), el("p", { class: "actions" }, buttons, away)));
  place.scrollIntoView({ block: "nearest" });
}
