// The pictures of a job with their outcomes: a page more whenever its end comes into sight, so that thousands load as one scrolls.
import { get } from "./api.js";
import { inspect } from "./inspect.js";
import { button, el, fill, many, percent } from "./page.js";
import { ofJob } from "./thumbs.js";

const PAGE = 48;
const MOST_REFRESHED = 4; // pages of unfinished pictures that are looked at again at once
const STATUS = { QUEUED: "waiting", CANCELLED: "cancelled", EXPIRED: "expired" };

export class Gallery {
  constructor(job) {
    this.job = job;
    this.path = job.links.pictures;
    this.failed = false;
    this.grid = el("div", { class: "shots outcomes" });
    this.end = el("p", { class: "more" });
    this.body = el("div", {}, this.grid, this.end);
    this.place = el("div", {}, this.choice(), this.body);
    this.sight = new IntersectionObserver(([seen]) => { if (seen.isIntersecting) this.more(); }, { rootMargin: "600px" });
    this.begin();
  }

  stop() {
    this.sight.disconnect();
  }

  /** Return the choice between all pictures and those that have failed; nothing if there are none of these. */
  choice() {
    const { total, failed } = this.job.progress;
    if (!failed || failed === total) return null;
    const option = (label, wanted) => el("button", {
      type: "button", class: "quiet", "aria-pressed": String(wanted === this.failed),
      onclick: (event) => {
        this.failed = wanted;
        for (const one of event.target.parentElement.children) one.setAttribute("aria-pressed", String(one === event.target));
        this.begin();
      },
    }, label);
    return el("div", { class: "choice", role: "group", "aria-label": "Pictures" },
      option(`all ${total.toLocaleString("en")}`, false), option(`${failed.toLocaleString("en")} failed`, true));
  }

  begin() {
    this.stop();
    this.cards = new Map(); // position -> card
    this.open = new Map(); // cursor of a page -> how many of its pictures have no outcome yet
    this.next = "";
    this.grid.replaceChildren();
    this.turn = (this.turn || 0) + 1;
    this.more();
  }

  /** Load the next page, if there is one and none is being loaded. */
  async more() {
    if (this.next == null || this.busy === this.turn) return;
    const turn = this.busy = this.turn;
    const cursor = this.next;
    let loaded = false;
    await fill(this.end, () => this.page(cursor), (page) => {
      if (turn !== this.turn) return [];
      loaded = true;
      this.show(page, cursor);
      this.next = page.next;
      return page.next == null ? [] : button("More pictures", el("p"), () => this.more());
    }, () => { this.busy = 0; this.more(); });
    if (turn !== this.turn) return;
    this.busy = 0;
    this.sight.disconnect();
    if (loaded && this.next != null) this.sight.observe(this.end); // observed anew: it may still be in sight
  }

  page(cursor) {
    return get(`${this.path}?${new URLSearchParams({ limit: PAGE, cursor, failed: this.failed })}`);
  }

  /** Look again at the pictures on the page that had no outcome. */
  async refresh() {
    const cursors = [...this.open.keys()].slice(0, MOST_REFRESHED);
    for (const cursor of cursors) {
      const page = await this.page(cursor).catch(() => null); // the next change asks again
      if (page) this.show(page, cursor);
    }
  }

  show(page, cursor) {
    const waiting = page.pictures.filter((one) => one.status === "QUEUED").length;
    if (waiting) this.open.set(cursor, waiting);
    else this.open.delete(cursor);
    for (const outcome of page.pictures) {
      const known = this.cards.get(outcome.position);
      if (known) known.show(outcome);
      else {
        const card = new Card(this.job, outcome);
        this.cards.set(outcome.position, card);
        this.grid.append(card.place);
      }
    }
  }
}

/** A picture with what came of it; a click shows it large. */
class Card {
  constructor(job, outcome) {
    this.job = job;
    this.caption = el("span", { class: "says" });
    this.place = el("button", { type: "button", class: "shot", onclick: () => inspect(this.job, this.outcome) },
      ofJob(job, outcome.position), this.caption);
    this.show(outcome);
  }

  show(outcome) {
    this.outcome = outcome;
    this.caption.replaceChildren(...[said(outcome), el("span", { class: "name", title: outcome.name }, outcome.name)].flat());
  }
}

/** Return the outcome in a few words. */
function said({ error, results, confident, similar, featureVectors, status }) {
  if (error) return el("span", { class: "wrong", title: error.message }, error.message);
  if (results?.length) {
    const { label, score } = results[0];
    return [el("span", { class: "label", title: label }, label), el("span", { class: confident === false ? "doubt" : "sure" },
      confident === false ? `${percent(score)}, not believed` : percent(score))];
  }
  if (results) return el("span", {}, "no label");
  if (similar) return el("span", {}, many(similar.hits.length, "similar picture"));
  if (featureVectors) return el("span", {}, many(featureVectors.length, "feature"));
  return el("span", { class: "calm" }, STATUS[status] || (status || "").toLowerCase());
}
