// Other names for models, on every wire: list them, add one, move it to another model, remove it.
import { ROOT, call } from "./api.js";
import { ask } from "./confirm.js";
import { act, el, group, heads } from "./page.js";
import { modelPage } from "./versions.js";

const PATTERN = "([A-Za-z0-9][A-Za-z0-9._\\-]{0,99}/)?[A-Za-z0-9][A-Za-z0-9._\\-]{0,99}";

/** Return the section of the aliases; `again` loads the page anew. */
export function aliases(named, models, again) {
  return group("Aliases", "Other names, for programs that call a model by the name that it has elsewhere.",
    el("div", { class: "card" },
      named.length ? table(named, models, again) : el("p", { class: "calm" }, "None yet. On the command line: ",
        el("code", {}, "inferq models alias google/vit-base-patch16-224 NAME")), adding(models, again)));
}

function address(alias) {
  return `${ROOT}/v1/aliases/${alias.split("/").map(encodeURIComponent).join("/")}`;
}

function table(named, models, again) {
  const line = ({ alias, model }) => el("tr", {}, el("th", { scope: "row", title: alias }, alias),
    el("td", {}, el("a", { href: modelPage(model) }, model)),
    el("td", {}, el("span", { class: "pair", "data-needs": "models" },
      quiet("Move", `Move ${alias}`, () => move(alias, model, models, again)),
      quiet("Remove", `Remove ${alias}`, () => remove(alias, model, again)))));
  return el("table", { class: "numbers even names" }, heads("alias", "stands for", "actions"), el("tbody", {}, named.map(line)));
}

function quiet(label, name, onclick) {
  return el("button", { type: "button", class: "quiet", "aria-label": name, onclick }, label);
}

function choice(models, but = "") {
  return el("select", {}, models.filter(({ name }) => name !== but).map(({ name }) => el("option", { value: name }, name)));
}

function adding(models, again) {
  const alias = el("input", { type: "text", required: true, pattern: PATTERN, autocomplete: "off", spellcheck: "false",
    placeholder: "google/vit-base-patch16-224", title: "a name, or OWNER/NAME, of letters, figures, '.', '_' and '-'" });
  const model = choice(models);
  const says = el("div", { "aria-live": "polite" });
  const add = el("button", { type: "submit" }, "Add");
  const submit = (event) => {
    event.preventDefault();
    act(add, says, async () => {
      await call("PUT", address(alias.value.trim()), { json: { model: model.value } });
      await again();
    });
  };
  return el("form", { class: "alias", "data-needs": "models", onsubmit: submit },
    el("label", {}, "Alias", alias), el("label", {}, "Model", model), add, says);
}

function move(alias, model, models, again) {
  const other = choice(models, model);
  ask({
    title: `Move ${alias} to another model?`,
    says: [`Requests that name ${alias} are answered by ${model} now, and by the default version of the chosen model then.`],
    fields: el("label", {}, "Model", other),
    does: "Move it", work: async () => {
      await call("PUT", address(alias), { json: { model: other.value } });
      await again();
    },
  });
}

function remove(alias, model, again) {
  ask({
    title: `Remove the alias ${alias}?`,
    says: [`Requests that name ${alias} are refused from then on. The model ${model} stays.`],
    does: "Remove the alias", work: async () => {
      await call("DELETE", address(alias));
      await again();
    },
  });
}
