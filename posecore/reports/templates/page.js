"use strict";
// The script of all pages: the color scheme, galleries with filters, and the enlarged view.
// Texts reach the page by textContent alone, because names of files and keypoints may hold anything.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
// Items of a gallery that are shown at once.
const PAGE = 24;
const KINDS = ["good", "jitter", "inversion", "swap", "miss"];

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// ---- the color scheme ----

const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// ---- poses on images ----

// A pose as a group: points are [x, y, v or confidence] in pixels of the image.
function drawPose(points, frame, options = {}) {
  const { keypoints, sides, limbs } = data.skeleton;
  const group = shape("g", { class: options.second ? "second" : "first" });
  const shown = points.map((point) => point[2] > 0);
  const radius = Math.max(frame[2], frame[3]) * (keypoints.length > 40 ? 0.005 : 0.0125);
  for (const style of ["halo", "bone"])
    for (const [a, b] of limbs) {
      if (!shown[a] || !shown[b]) continue;
      const side = sides[a] === sides[b] ? sides[a] : sides[a] === "middle" ? sides[b] : sides[b] === "middle" ? sides[a] : "middle";
      group.append(shape("line", { class: `limb ${style} ${side}`, x1: points[a][0], y1: points[a][1], x2: points[b][0], y2: points[b][1] }));
    }
  points.forEach((point, k) => {
    if (!shown[k]) return;
    const hidden = options.labels && point[2] === 1;
    const joint = shape("circle", { class: `joint ${sides[k]}${hidden ? " hidden-joint" : ""}`, cx: point[0], cy: point[1], r: radius });
    const kind = options.kinds ? KINDS[options.kinds[k]] : undefined;
    const title = shape("title", {});
    title.textContent = keypoints[k] + (hidden ? ": hidden" : "") + (kind ? `: ${kind}` : "");
    joint.append(title);
    group.append(joint);
    if (options.flagged?.includes(k))
      group.append(shape("circle", { class: "wrong miss", cx: point[0], cy: point[1], r: radius * 2.1 }));
    if (kind && kind !== "good")
      group.append(shape("circle", { class: `wrong ${kind}`, cx: point[0], cy: point[1], r: radius * 2.1 }));
  });
  return group;
}

// The cut-out of an image with layers of poses over it, in a box of its own proportions.
function drawFrame(item, layers, alternative) {
  const frame = item.frame;
  const box = element("div", { class: "frame-box" });
  box.style.aspectRatio = `${frame[2]} / ${frame[3]}`;
  if (item.source) box.append(element("img", { src: item.source, alt: alternative, decoding: "async" }));
  else box.append(element("div", { class: "blank", role: "img", "aria-label": alternative }));
  const svg = shape("svg", { viewBox: frame.join(" "), "aria-hidden": "true" });
  for (const layer of layers) svg.append(layer);
  box.append(svg);
  return box;
}

// Fits a box of these proportions into a room of fixed height.
function fit(box, frame, width, height) {
  const scale = Math.min(width / frame[2], height / frame[3]);
  box.style.width = `${frame[2] * scale}px`;
  box.style.height = `${frame[3] * scale}px`;
}

// The parts of an item: what is drawn beside each other. Each has a name and makes its layers anew.
function partsOf(item) {
  const parts = [];
  if (item.gt)
    parts.push({ key: "gt", name: "ground truth", layers: () => item.gt.map((pose) => drawPose(pose, item.frame, { labels: true })) });
  const run = data.runs ? data.runs[0] : "";
  const ours = item.poses || (item.pose ? [item.pose] : []);
  if (item.gt && data.runs)
    parts.push({ key: "run", name: data.runs.length > 1 ? run : "found", layers: () => ours.map((pose) => drawPose(pose, item.frame, { kinds: item.kinds })) });
  if (data.runs && data.runs.length > 1 && item.kind !== "unmatched") {
    const theirs = item.others || (item.other ? [item.other] : []);
    parts.push({ key: "other", name: data.runs[1], layers: () => theirs.map((pose) => drawPose(pose, item.frame, { second: true })) });
  }
  if (!item.gt)
    parts.push({ key: "labels", name: item.beside ? item.image : "labels", layers: () => (item.marks || []).map((pose) => drawPose(pose, item.frame, { labels: true, flagged: item.flagged })) });
  if (item.beside) parts.push({ key: "beside", name: item.beside.image, item: item.beside, layers: () => [] });
  return parts;
}

const figure = (value, digits = 2) => (value === null || value === undefined ? "\u2013" : Number(value).toFixed(digits).replace("-", "\u2212"));

function badgesOf(item) {
  const badges = element("div", { class: "badges" });
  const add = (text, style = "") => badges.append(element("span", { class: `badge ${style}` }, text));
  if (item.kind === "missed") add("missed", "down");
  if (item.kind === "unmatched") add("no person", "down");
  if (item.oks !== undefined) add(`OKS ${figure(item.oks)}`, "strong");
  if (item.oks_other !== undefined) add(`${data.runs[1]} ${figure(item.oks_other)}`);
  if (item.difference !== undefined) add(`${item.difference > 0 ? "+" : ""}${figure(item.difference)}`, item.difference > 0 ? "up" : item.difference < 0 ? "down" : "");
  if (item.score !== undefined && item.score !== null) add(`score ${figure(item.score)}`);
  for (const text of item.badges || []) add(text);
  return badges;
}

function makeItem(item, open) {
  const parts = partsOf(item);
  const node = element("div", { class: "item", role: "button", tabindex: "0", "aria-label": `enlarge ${item.image}` });
  const pair = element("div", { class: "pair" });
  for (const part of parts) {
    const room = element("div", { class: "room" });
    const view = part.item || item;
    room.style.aspectRatio = `${view.frame[2]} / ${view.frame[3]}`;
    const box = drawFrame(view, part.layers(), `${part.name}: ${item.image}`);
    room.append(box);
    pair.append(element("figure", {}, room, ...(parts.length > 1 ? [element("figcaption", {}, part.name)] : [])));
  }
  const about = element("div", { class: "about" }, element("b", {}, item.image), badgesOf(item));
  if (item.text) about.append(element("span", { class: "soft" }, item.text));
  node.append(pair, about);
  node.addEventListener("click", () => open(item));
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open(item);
    }
  });
  return node;
}

const rooms = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const box = entry.target.firstElementChild;
    const [width, height] = box.style.aspectRatio.split("/").map(Number);
    fit(box, [0, 0, width, height], entry.contentRect.width, entry.contentRect.height);
  }
});

function watch(node) {
  for (const room of node.querySelectorAll(".room")) rooms.observe(room);
}

// ---- galleries ----

// A gallery is a section with data-gallery; its items are those of the data under this name. Its filters are the
// controls with data-filter in it.
class Gallery {
  constructor(section) {
    this.items = data[section.dataset.gallery];
    this.list = section.querySelector(".gallery");
    this.count = section.querySelector(".count");
    this.empty = section.querySelector(".empty");
    this.more = section.querySelector(".more");
    this.limit = PAGE;
    this.controls = Object.fromEntries([...section.querySelectorAll("[data-filter]")].map((control) => [control.dataset.filter, control]));
    this.nodes = new Map();
    for (const control of Object.values(this.controls)) control.addEventListener("input", () => this.update());
    const reset = section.querySelector("[data-reset]");
    if (reset)
      reset.addEventListener("click", () => {
        for (const control of Object.values(this.controls)) control.value = control.dataset.default ?? "";
        this.update();
      });
    for (const control of Object.values(this.controls)) control.dataset.default = control.value;
    this.more?.addEventListener("click", () => {
      this.limit += PAGE;
      this.update();
    });
    this.update();
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) if (this.controls[name]) this.controls[name].value = value;
    this.update();
  }

  matches(item) {
    const value = (name) => this.controls[name]?.value ?? "";
    const text = value("text").trim().toLowerCase();
    if (text && !`${item.image} ${item.text || ""} ${item.annotation ?? ""}`.toLowerCase().includes(text)) return false;
    if (value("low") !== "" && item.oks < Number(value("low"))) return false;
    if (value("high") !== "" && item.oks > Number(value("high"))) return false;
    if (value("kind") && item.kind !== value("kind")) return false;
    if (value("size") && item.size !== value("size")) return false;
    if (value("direction") && Math.sign(item.difference) !== Number(value("direction"))) return false;
    const keypoint = value("keypoint"), error = value("error");
    if (keypoint !== "" || error) {
      const wanted = (kind) => (error === "" ? kind >= 0 : error === "wrong" ? kind > 0 : KINDS[kind] === error);
      const kinds = item.kinds || [];
      if (!(keypoint === "" ? kinds.some(wanted) : kinds[keypoint] !== undefined && wanted(kinds[keypoint]))) return false;
    }
    return true;
  }

  // Made when it is shown first, so that a page of many items opens at once.
  node(item) {
    if (!this.nodes.has(item)) {
      const node = makeItem(item, (chosen) => zoom.open(chosen, this.visible));
      watch(node);
      this.nodes.set(item, node);
    }
    return this.nodes.get(item);
  }

  update() {
    const order = {
      worst: (a, b) => a.oks - b.oks,
      best: (a, b) => b.oks - a.oks,
      score: (a, b) => (b.score ?? -1) - (a.score ?? -1),
      name: (a, b) => a.image.localeCompare(b.image),
      gained: (a, b) => b.difference - a.difference,
      lost: (a, b) => a.difference - b.difference,
      change: (a, b) => Math.abs(b.difference) - Math.abs(a.difference),
    }[this.controls.sort?.value];
    const sorted = order ? [...this.items].sort(order) : this.items;
    this.visible = sorted.filter((item) => this.matches(item));
    const chosen = new Set(this.visible.slice(0, this.limit));
    this.list.replaceChildren(...[...chosen].map((item) => this.node(item)));
    const left = this.visible.length - chosen.size;
    if (this.count) this.count.textContent = `${this.visible.length} of ${this.items.length}`;
    if (this.more) {
      this.more.hidden = left <= 0;
      this.more.textContent = `Show ${Math.min(left, PAGE)} more of ${left}`;
    }
    if (this.empty) this.empty.hidden = this.visible.length > 0;
  }
}

// ---- the enlarged view ----

class Zoom {
  constructor() {
    this.dialog = document.getElementById("zoom");
    this.stage = this.dialog.querySelector(".stage");
    this.moved = this.dialog.querySelector(".moved");
    this.title = this.dialog.querySelector("header b");
    this.under = this.dialog.querySelector(".under");
    this.level = this.dialog.querySelector(".level");
    this.pointers = new Map();
    const act = { in: () => this.scaleBy(1.4), out: () => this.scaleBy(1 / 1.4), reset: () => this.reset(), next: () => this.step(1), previous: () => this.step(-1), close: () => this.dialog.close() };
    for (const button of this.dialog.querySelectorAll("[data-act]")) button.addEventListener("click", act[button.dataset.act]);
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const edge = this.stage.getBoundingClientRect();
      this.scaleBy(Math.exp(-event.deltaY * 0.0015), event.clientX - edge.left, event.clientY - edge.top);
    }, { passive: false });
    this.stage.addEventListener("dblclick", () => this.reset());
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.stage.classList.add("dragging");
    });
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"])
      this.stage.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        if (!this.pointers.size) this.stage.classList.remove("dragging");
      });
    this.dialog.addEventListener("keydown", (event) => {
      const keys = {
        "+": act.in, "=": act.in, "-": act.out, 0: act.reset, n: act.next, p: act.previous,
        ArrowLeft: () => this.moveBy(60, 0), ArrowRight: () => this.moveBy(-60, 0),
        ArrowUp: () => this.moveBy(0, 60), ArrowDown: () => this.moveBy(0, -60),
      };
      if (keys[event.key] && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        keys[event.key]();
      }
    });
    addEventListener("resize", () => this.dialog.open && this.reset());
  }

  open(item, items) {
    this.items = items;
    this.show(item);
    if (!this.dialog.open) this.dialog.showModal();
    this.reset();
    this.stage.focus();
  }

  show(item) {
    this.item = item;
    this.title.textContent = item.image;
    const parts = partsOf(item).filter((part) => !part.item);
    const groups = parts.map((part) => {
      const group = shape("g", { "data-part": part.key });
      group.append(...part.layers());
      return group;
    });
    this.box = drawFrame(item, groups, item.image);
    this.moved.replaceChildren(this.box);
    this.under.replaceChildren(badgesOf(item));
    const shown = new Set(parts.length > 1 ? ["gt", "run"] : parts.map((part) => part.key));
    if (parts.length === 3 && item.kind === undefined) shown.add("other");
    parts.forEach((part, index) => {
      const control = element("input", { type: "checkbox" });
      control.checked = shown.has(part.key);
      groups[index].style.display = control.checked ? "" : "none";
      control.addEventListener("input", () => (groups[index].style.display = control.checked ? "" : "none"));
      this.under.append(element("label", {}, control, part.name));
    });
    if (item.text) this.under.append(element("span", { class: "soft small" }, item.text));
  }

  step(by) {
    const place = this.items.indexOf(this.item);
    if (this.items.length) {
      this.show(this.items[(place + by + this.items.length) % this.items.length]);
      this.reset();
    }
  }

  reset() {
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    const frame = this.item.frame;
    fit(this.box, frame, width * 0.96, height * 0.96);
    const scale = Math.min((width * 0.96) / frame[2], (height * 0.96) / frame[3]);
    this.scale = 1;
    this.x = (width - frame[2] * scale) / 2;
    this.y = (height - frame[3] * scale) / 2;
    this.apply();
  }

  scaleBy(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, 0.5), 40);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.apply();
  }

  moveBy(x, y) {
    this.x += x;
    this.y += y;
    this.apply();
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      const edge = this.stage.getBoundingClientRect();
      this.scaleBy(span([event.clientX, event.clientY]) / span(before), other[0] - edge.left, other[1] - edge.top);
    } else this.moveBy(event.clientX - before[0], event.clientY - before[1]);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  apply() {
    this.moved.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.level.textContent = `${Math.round(this.scale * 100)} %`;
  }
}

const zoom = new Zoom();
const galleries = Object.fromEntries([...document.querySelectorAll("[data-gallery]")].map((section) => [section.dataset.gallery, new Gallery(section)]));

// ---- charts that steer the gallery ----

for (const column of document.querySelectorAll("g[data-low]")) {
  const choose = () => {
    galleries.items.set({ low: column.dataset.low, high: column.dataset.high });
    document.getElementById("gallery").scrollIntoView();
  };
  column.addEventListener("click", choose);
  column.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  });
}

function pick(index) {
  for (const line of document.querySelectorAll("[data-line]")) line.classList.toggle("picked", line.dataset.line === index);
  for (const row of document.querySelectorAll("tr[data-keypoint]")) row.classList.toggle("picked", row.dataset.keypoint === index);
}
for (const row of document.querySelectorAll("tr[data-keypoint]")) {
  row.addEventListener("mouseenter", () => pick(row.dataset.keypoint));
  row.addEventListener("mouseleave", () => pick(""));
}
