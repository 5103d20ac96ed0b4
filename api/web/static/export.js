// The export of a version: the browser saves it by itself, from a link that is asked for until the service has the format.
import { Problem, download, pause } from "./api.js";
import { button, el } from "./page.js";
import { versionAddress } from "./versions.js";

const AGAIN = 2000; // milliseconds between two questions for a format that is being converted
const FORMATS = [
  ["safetensors", "Export as safetensors", "the tensors as they are stored, for timm, transformers and this service"],
  ["onnx", "Export as ONNX", "the whole network, for any runtime; the first time a worker converts the weights"],
];

/** Return a button for each format that the version has, and the place for what they say. */
export function exporting(version) {
  const says = el("div", { class: "exported", "aria-live": "polite" });
  const formats = FORMATS.filter(([format]) => format === "onnx" || version.family !== "onnx");
  const rows = formats.map(([format, label, about]) => el("div", {},
    button(label, says, () => save(version, format, says)), el("small", {}, about)));
  return [el("p", {}, "A zip with the weights, labels, preprocessing and evidence, which an import takes as it is:"),
    el("div", { class: "formats" }, rows), says];
}

async function save(version, format, says) {
  const name = `${version.name}-${version.version}-${format}.zip`;
  const tell = (text) => says.replaceChildren(el("p", { class: "calm" }, text));
  tell(`${name} is being prepared …`);
  for (;;) {
    try {
      const link = await download(`${versionAddress(version)}/export`, format, name);
      says.replaceChildren(el("p", {}, "Your browser saves ", link, "."));
      return;
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "model_not_ready") throw error;
      tell(error.message);
      await pause(AGAIN);
    }
  }
}
