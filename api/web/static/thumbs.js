// Pictures of datasets and jobs, each fetched with the key when it becomes visible; a few at a time, to leave free waiting places.
import { Problem, pause, picture } from "./api.js";
import { el } from "./page.js";

const AT_ONCE = 5;
const TRIES = 4;
const waiting = [];
let busy = 0;

const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    watch.unobserve(target);
    waiting.push(target);
    next();
  }
}, { rootMargin: "300px" });

/** Return the place of a picture; `path` is the call that returns its bytes, and `small` one that may return fewer. */
export function lazy(path, small = path) {
  const place = el("div", { class: "thumb", "data-path": path, "data-small": small });
  watch.observe(place);
  return place;
}

/** Return the place of a picture of a job, which the service makes small, whatever its format is. */
export function ofJob(job, position, side = 320) {
  const path = `${job.links.pictures}/${position}`;
  return lazy(path, `${path}/thumbnail?side=${side}`);
}

/** Return a picture with a caption. */
export function thumb(path, name, ...below) {
  const caption = el("figcaption", {}, el("span", { class: "name", title: name }, name), below);
  return el("figure", { class: "shot" }, lazy(path), caption);
}

async function next() {
  if (busy >= AT_ONCE || !waiting.length) return;
  const place = waiting.shift();
  if (!place.isConnected) { // another page is shown by now
    next();
    return;
  }
  busy += 1;
  try {
    // Without a small one it is damaged, and browsers show a part of it, or it is huge.
    show(place, (await fetched(place.dataset.small)) || (await fetched(place.dataset.path)));
  } catch (error) {
    missing(place, error.status === 404 ? "deleted" : error.message);
  } finally {
    busy -= 1;
    next();
  }
}

/** Return what `picture` does, and ask again while the service has no free place. Throws Problem. */
export async function fetched(path) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await picture(path);
    } catch (error) {
      if (tried === TRIES || !(error instanceof Problem) || ![429, 503].includes(error.status)) throw error;
      await pause(1000 * 2 ** tried);
    }
  }
}

function show(place, address) {
  const forget = () => URL.revokeObjectURL(address);
  const image = el("img", { alt: "", onload: forget });
  image.addEventListener("error", () => { forget(); missing(place, "this browser cannot display the format"); });
  image.src = address;
  place.replaceChildren(image);
}

function missing(place, why) {
  place.replaceChildren(el("span", {}, why));
}
