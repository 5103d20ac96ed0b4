// The ways to hand over pictures: drop, paste, files, a folder, the camera, or an address.
import { act, draw, el } from "./page.js";

const PICTURE = /\.(jpe?g|png|gif|webp|bmp|tiff?|heic|heif|avif)$/i;
const SHOWN = /\.(jpe?g|png|gif|webp|bmp|avif)$/i; // what browsers display
const ARCHIVE = /\.(zip|tar|tgz|gz|bz2|tbz2|xz|txz)$/i;
const ADDRESS = /^https?:\S+$/;
const ICONS = { // strokes in a square of 24
  files: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  folder: "M3 6h6l2 2h10v11H3z",
  camera: "M4 7h4l2-2h4l2 2h4v12H4zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7",
};

export function isArchive(file) {
  return ARCHIVE.test(file.name);
}

/** Return the blob: address of a picture that the browser can show, or "". */
export function shownAs(file) {
  return SHOWN.test(file.name) ? URL.createObjectURL(file) : "";
}

/**
 * Fill `place` with the ways to hand over pictures. `take(files, leftOut)` gets files, and how many of a folder were no
 * pictures; `fetch(address)` gets the address of a picture.
 */
export function ways(place, take, fetch) {
  const says = el("div", { "aria-live": "polite" });
  const files = chooser({ multiple: true, accept: "image/*,.heic,.heif,.zip,.tar,.tgz,.gz,.bz2,.xz" }, (chosen) => take(chosen, 0));
  const folder = chooser({ webkitdirectory: true, multiple: true }, (chosen) => given(chosen, take));
  const snap = chooser({ accept: "image/*", capture: "environment" }, (chosen) => take(chosen, 0));
  const camera = way("camera", "Camera", () => act(camera, says, () => (canFilm() ? film(take) : snap.click())));
  const area = el("div", { class: "drop" },
    el("strong", {}, "Drop pictures here"), el("span", {}, "or paste them, or an archive or a folder of them"),
    el("div", { class: "ways" }, way("files", "Choose pictures", () => files.click(), ""),
      way("folder", "Folder", () => folder.click()), camera), files, folder, snap);
  dropping(area, (list) => dropped(list).then((found) => given(found, take)));
  pasting(take, fetch);
  place.append(area, byAddress(fetch), says);
}

function way(icon, label, onclick, kind = "quiet") {
  const image = draw("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, draw("path", { d: ICONS[icon] }));
  return el("button", { type: "button", class: kind || false, onclick }, image, label);
}

function chooser(attributes, chosen) {
  const input = el("input", { type: "file", hidden: true, ...attributes });
  input.addEventListener("change", () => {
    const list = [...input.files];
    input.value = "";
    if (list.length) chosen(list);
  });
  return input;
}

/** Hand over the pictures of a folder; a single file, or files that were chosen one by one, go as they are. */
function given(found, take) {
  const usable = found.filter((file) => !file.webkitRelativePath && !file.inFolder ? true : isPicture(file));
  take(usable, found.length - usable.length);
}

function isPicture(file) {
  return file.type.startsWith("image/") || PICTURE.test(file.name);
}

function byAddress(fetch) {
  const input = el("input", { type: "url", required: true, placeholder: "the address of a picture", "aria-label": "Address of a picture" });
  const submit = (event) => { event.preventDefault(); fetch(input.value.trim()); };
  return el("form", { class: "by-address", onsubmit: submit }, input, el("button", { type: "submit", class: "quiet" }, "Classify"));
}

// -- drop and paste

/** Let the whole page accept drops, and show at the area that it does. */
function dropping(area, take) {
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); area.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) area.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    take(event.dataTransfer);
  });
}

/** Return the dropped files, those in folders too. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    file.inFolder = true;
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader returns some hundred entries at a time, and none at the end
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}

function pasting(take, fetch) {
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input, textarea")) return;
    const files = [...event.clipboardData.files];
    const text = event.clipboardData.getData("text").trim();
    if (files.length) take(files.map(named), 0);
    else if (ADDRESS.test(text)) fetch(text);
    else return;
    event.preventDefault();
  });
}

/** A picture from the clipboard has no name of its own. */
function named(file, index) {
  const type = file.type.split("/")[1] || "png";
  return file.name === `image.${type}` ? new File([file], `pasted-${index + 1}.${type}`, { type: file.type }) : file;
}

// -- the camera

function canFilm() {
  return Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
}

/** Show what the camera sees until a picture is taken or the dialog is closed. Throws if the camera cannot be used. */
async function film(take) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(REFUSALS[error.name] || `The camera cannot be used: ${error.message}`);
  }
  const video = el("video", { autoplay: true, playsinline: true, "aria-label": "What the camera sees" });
  video.muted = true;
  video.srcObject = stream;
  const dialog = el("dialog", { class: "camera", "aria-label": "Camera", onclose: () => {
    stream.getTracks().forEach((track) => track.stop());
    dialog.remove();
  } });
  const shoot = el("button", { type: "button", disabled: true }, "Take the picture");
  shoot.addEventListener("click", async () => {
    const file = await still(video);
    dialog.close();
    take([file], 0);
  });
  video.addEventListener("loadeddata", () => { shoot.disabled = false; shoot.focus(); });
  const close = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close");
  dialog.append(video, el("p", { class: "actions" }, shoot, close));
  document.body.append(dialog);
  dialog.showModal();
}

const REFUSALS = {
  NotAllowedError: "The browser does not let this page use the camera; allow it in the address bar.",
  NotFoundError: "This machine has no camera.",
};

function still(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
  });
}
