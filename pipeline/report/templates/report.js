"use strict";
// The gallery: filters, order, the slider that moves τ, and the large view. Names are only ever set as text.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const AT_A_TIME = 24;
  const $ = (id) => document.getElementById(id);
  const filters = [...document.querySelectorAll("[data-filter]")];
  const large = $("large");
  let data, tiles, stop, shown = [], views = [], place = -1, largeView = null;

  function start() {
    data = JSON.parse($("data-of-images").textContent);
    tiles = new Map(data.tiles.map(([row, picture, map, other, width, height, boxes, truth]) =>
      [row, {picture, map, other, width, height, boxes, truth}]));
    document.querySelector(".controls").hidden = false;
    listen();
    moveTo(inUse());
    choose();
  }

  function listen() {
    for (const element of [...filters, $("sort"), $("pictured")]) element.addEventListener("change", choose);
    for (const element of [$("name"), $("seed")]) element.addEventListener("input", choose);
    $("reset").addEventListener("click", () => { clear(); choose(); });
    $("more").addEventListener("click", draw);
    $("tau").addEventListener("input", () => moveTo(Number($("tau").value)));
    $("in-use").addEventListener("click", () => moveTo(inUse()));
    for (const bar of document.querySelectorAll(".bars button")) bar.addEventListener("click", () => lead(bar));
    $("close").addEventListener("click", () => large.close());
    $("before").addEventListener("click", () => step(-1));
    $("after").addEventListener("click", () => step(1));
    $("lower").addEventListener("click", () => moveTo(stop - 1));
    $("higher").addEventListener("click", () => moveTo(stop + 1));
    large.addEventListener("close", () => { largeView = null; });
    large.addEventListener("keydown", (event) => {
      const act = {ArrowLeft: () => step(-1), ArrowRight: () => step(1),
        "+": () => moveTo(stop + 1), "-": () => moveTo(stop - 1)}[event.key];
      if (act) { act(); event.preventDefault(); }
    });
    if ("IntersectionObserver" in window) {
      new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) draw(); },
        {rootMargin: "400px"}).observe($("more"));
    }
  }

  // Which images, in which order.

  function clear() {
    for (const select of filters) select.value = "";
    $("name").value = "";
    $("pictured").checked = true;
  }

  function lead(bar) {
    clear();
    filters.find((select) => select.dataset.filter === bar.dataset.group).value = bar.dataset.code;
    choose();
    if (!shown.length) { $("pictured").checked = false; choose(); }
    $("gallery").scrollIntoView();
    $("gallery-title").tabIndex = -1;
    $("gallery-title").focus({preventScroll: true});
  }

  function choose() {
    const wanted = filters.filter((select) => select.value !== "")
      .map((select) => [data.groups[select.dataset.filter], Number(select.value)]);
    const text = $("name").value.toLowerCase();
    const rows = [...data.ids.keys()].filter((row) => wanted.every(([codes, code]) => codes[row] === code)
      && data.ids[row].toLowerCase().includes(text));
    shown = rows.filter((row) => !$("pictured").checked || tiles.has(row)).sort(order($("sort").value));
    const pictured = rows.filter((row) => tiles.has(row)).length;
    $("count").textContent = `${rows.length.toLocaleString("en")} images, ${pictured.toLocaleString("en")} with pictures`;
    $("tiles").replaceChildren();
    views = [];
    if (!shown.length) $("tiles").append(make("li", "none", "No image fits these filters."));
    draw();
  }

  function order(by) {
    if (by === "id") return (a, b) => (data.ids[a] < data.ids[b] ? -1 : 1);
    if (by === "random") {
      const seed = Number($("seed").value) || 0;
      return (a, b) => scatter(a, seed) - scatter(b, seed) || a - b;
    }
    const sign = by.startsWith("-") ? -1 : 1, values = data[by.replace("-", "")];
    // What was not measured comes last.
    return (a, b) => (values[a] < 0) - (values[b] < 0) || sign * (values[a] - values[b]) || a - b;
  }

  function scatter(row, seed) {
    let t = Math.imul(row + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  function draw() {
    const next = shown.slice(views.length, views.length + AT_A_TIME);
    for (const row of next) {
      const view = card(row);
      views.push(view);
      $("tiles").append(view.element);
    }
    $("more").hidden = views.length >= shown.length;
  }

  // One image.

  function make(name, style, text) {
    const element = document.createElement(name);
    if (style) element.className = style;
    if (text) element.textContent = text;
    return element;
  }

  function svg(name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function card(row) {
    const item = make("li"), button = make("button", "tile"), caption = make("span", "caption");
    const view = tiles.has(row) ? triptych(row, false) : {element: make("span"), move() {}};
    button.type = "button";
    button.append(view.element, caption);
    if (tiles.has(row)) button.addEventListener("click", () => open(shown.indexOf(row)));
    else button.disabled = true;
    item.append(button);
    const move = () => { view.move(); caption.textContent = describe(row); };
    move();
    return {element: item, move};
  }

  function describe(row) {
    const truth = data.classes[data.groups.label[row]];
    const predicted = data.classes[data.predicted[row]] ?? "unknown";
    const overlap = tiles.has(row) ? bestOverlap(row) : data.iou[row] / 1000;
    return [`${truth}, predicted ${predicted === truth ? "as such" : `as ${predicted}`}`
      + ` (${(data.score[row] / 10).toFixed(0)} %)`, overlap >= 0 ? `IoU ${overlap.toFixed(2)}` : "", data.ids[row]]
      .filter(Boolean).join("; ");
  }

  function boxAt(row) {
    const runs = tiles.get(row).boxes;
    let found = runs[0];
    for (const run of runs) if (run[0] <= stop) found = run; else break;
    return found.slice(1);
  }

  // Boxes hold their last row and column, as the protocol counts them.
  function bestOverlap(row) {
    const [x0, y0, x1, y1] = boxAt(row), area = (x1 - x0 + 1) * (y1 - y0 + 1);
    return Math.max(-1, ...tiles.get(row).truth.map(([a0, b0, a1, b1]) => {
      const width = Math.min(x1, a1) - Math.max(x0, a0) + 1, height = Math.min(y1, b1) - Math.max(y0, b0) + 1;
      const both = Math.max(width, 0) * Math.max(height, 0);
      return both / (area + (a1 - a0 + 1) * (b1 - b0 + 1) - both);
    }));
  }

  function rectangles(tile, kind) {
    const halo = svg("rect", {class: kind === "true" ? "box halo light" : "box halo"});
    const line = svg("rect", {class: `box ${kind}`});
    const set = ([x0, y0, x1, y1]) => {
      const [h, v] = [tile.width / data.frame, tile.height / data.frame];
      for (const rect of [halo, line]) {
        for (const [key, value] of Object.entries({x: x0 * h, y: y0 * v, width: (x1 - x0) * h, height: (y1 - y0) * v})) {
          rect.setAttribute(key, value.toFixed(1));
        }
      }
    };
    return {elements: [halo, line], set};
  }

  function triptych(row, enlarged) {
    const tile = tiles.get(row), panels = [], name = data.classes[data.groups.label[row]], id = data.ids[row];
    const panel = (label, layers) => {
      const picture = svg("svg", {viewBox: `0 0 ${tile.width} ${tile.height}`, role: "img", "aria-label": label});
      for (const [source, opacity] of layers) {
        picture.append(svg("image", {href: source, width: tile.width, height: tile.height,
          preserveAspectRatio: "none", opacity}));
      }
      panels.push(picture);
      return picture;
    };
    const box = rectangles(tile, "predicted");
    const first = panel(`${name}, image ${id}, with predicted${tile.truth.length ? " and true" : ""} box`,
      [[tile.picture, 1]]);
    for (const truth of tile.truth) {
      const other = rectangles(tile, "true");
      other.set(truth);
      first.append(...other.elements);
    }
    first.append(...box.elements);
    panel(`Map of ${name} for image ${id}`, [[tile.map, 1]]);
    panel(`Image ${id} blended with its map`, [[tile.picture, 1], [tile.map, 0.5]]);
    if (enlarged && tile.other) {
      panel(`Map of ${data.classes[data.predicted[row]]}, the predicted class, for image ${id}`, [[tile.other, 1]]);
    }
    const element = make("span", `triptych${panels.length > 3 ? " four" : ""}`);
    element.append(...panels.map((picture, i) => framed(picture, enlarged
      && ["predicted and true box", `map of the true class, ${name}`, "both blended",
        `map of the predicted class, ${data.classes[data.predicted[row]]}`][i])));
    return {element, move: () => box.set(boxAt(row))};
  }

  function framed(picture, text) {
    if (!text) return picture;
    const figure = make("figure");
    figure.append(picture, make("figcaption", "", text));
    return figure;
  }

  // The threshold.

  function inUse() {
    return data.stops.reduce((best, tau, i) =>
      (Math.abs(tau - data.tau) < Math.abs(data.stops[best] - data.tau) ? i : best), 0);
  }

  function moveTo(next) {
    stop = Math.min(Math.max(next, 0), data.stops.length - 1);
    $("tau").value = stop;
    $("accuracy").textContent = `τ = ${data.stops[stop].toFixed(3)}${stop === inUse() ? " (in use)" : ""}`
      + data.accuracy.map((values, i) => `; IoU ≥ ${data.deltas[i]}: ${values[stop].toFixed(1)} %${change(values)}`).join("");
    const marker = document.querySelector("#chart-threshold .marker");
    if (marker) {
      const [left, right] = [Number(marker.dataset.left), Number(marker.dataset.right)];
      const x = (left + data.stops[stop] * (right - left)).toFixed(1);
      marker.setAttribute("d", marker.getAttribute("d").replace(/^M[\d.]+/, `M${x}`));
    }
    for (const view of views) view.move();
    if (largeView) largeView();
  }

  function change(values) {
    const points = values[stop] - values[inUse()];
    return Math.abs(points) < 0.05 ? "" : ` (${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(1)})`;
  }

  // The large view.

  function open(where) {
    place = where;
    const row = shown[place], view = triptych(row, true);
    $("large-title").textContent = `${data.ids[row]}, ${place + 1} of ${shown.length}`;
    $("large-view").replaceChildren(view.element);
    largeView = () => {
      view.move();
      $("large-text").textContent = `${describe(row)}; τ = ${data.stops[stop].toFixed(3)}`;
    };
    largeView();
    if (!large.open) large.showModal();
  }

  function step(by) {
    const count = shown.length;
    for (let i = 1; i <= count; i++) {
      const next = (((place + by * i) % count) + count) % count;
      if (tiles.has(shown[next])) { open(next); return; }
    }
  }

  // After the first paint: with many images reading the data takes a moment.
  requestAnimationFrame(() => setTimeout(start));
})();
