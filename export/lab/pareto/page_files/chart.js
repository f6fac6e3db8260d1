// The scatter plot: latency (logarithmic) to the right, accuracy upwards.
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "14 4", "4 6"];
const LETTER = 6.6; // pixels of a letter of a label, about
const NARROW = 560; // pixels of a chart that has no room for a card beside a point
const chart = byId("chart");
const tip = byId("tip");
let places = []; // of the points that are drawn: {p, x, y, element}
let current = 0; // the one that Tab reaches

function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of [1, 2, 5]) {
      const value = step * 10 ** power;
      if (value >= low && value <= high) found.push(Number(value.toPrecision(1)));
    }
  }
  return found;
}

function scales(some, width, height) {
  const margin = { left: width < NARROW ? 44 : 52, right: 14, top: 14, bottom: 44 };
  const xs = some.flatMap((p) => [latency(p), scaled(p, p.timing.low ?? p.timing.ms), scaled(p, p.timing.high ?? p.timing.ms)]);
  const ys = some.map((p) => p.accuracy.top1);
  const [low, high] = some.length ? [Math.min(...xs) / 1.18, Math.max(...xs) * 1.18] : [1, 10];
  const [bottom, top] = some.length ? [Math.min(...ys) - 0.7, Math.max(...ys) + 0.7] : [70, 90];
  const across = width - margin.left - margin.right;
  const up = height - margin.top - margin.bottom;
  const x = (ms) => margin.left + (across * Math.log(ms / low)) / Math.log(high / low);
  const y = (top1) => margin.top + (up * (top - top1)) / (top - bottom);
  return { x, y, low, high, bottom, top, margin, width, height };
}

function axes(s) {
  const group = draw("g", { class: "axes", "aria-hidden": "true" });
  const floor = s.height - s.margin.bottom;
  let last = -Infinity;
  for (const value of ticks(s.low, s.high)) {
    const at = s.x(value);
    group.append(draw("line", { x1: at, x2: at, y1: s.margin.top, y2: floor }));
    if (at - last < 34) continue;
    group.append(draw("text", { x: at, y: floor + 17, "text-anchor": "middle" }, String(value)));
    last = at;
  }
  const step = s.top - s.bottom > 8 ? 2 : 1;
  for (let value = Math.ceil(s.bottom / step) * step; value <= s.top; value += step) {
    const at = s.y(value);
    group.append(draw("line", { x1: s.margin.left, x2: s.width - s.margin.right, y1: at, y2: at }));
    group.append(draw("text", { x: s.margin.left - 7, y: at + 4, "text-anchor": "end" }, String(value)));
  }
  const middle = (s.margin.left + s.width - s.margin.right) / 2;
  const what = perImage() ? "latency of one image, ms" : "latency of one call, ms";
  group.append(draw("text", { x: middle, y: s.height - 6, "text-anchor": "middle", class: "title" }, `${what} (logarithmic)`));
  const turned = `translate(11,${(s.margin.top + floor) / 2}) rotate(-90)`;
  group.append(draw("text", { transform: turned, "text-anchor": "middle", class: "title" }, "published ImageNet-1k top-1, %"));
  return group;
}

// A staircase: what accuracy can be had within a latency.
function stairs(best, s, index) {
  const steps = best.map((p, i) => {
    const [x, y] = [s.x(latency(p)), s.y(p.accuracy.top1)];
    return i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)},${y.toFixed(1)}`;
  });
  const path = `${steps.join("")}H${s.width - s.margin.right}`;
  return draw("path", { d: path, class: "front", "stroke-dasharray": DASHES[index % DASHES.length] });
}

// Around the place of its point.
function whisker(p, s) {
  if (p.timing.low === null) return [];
  const [a, b] = [p.timing.low, p.timing.high].map((ms) => (s.x(scaled(p, ms)) - s.x(latency(p))).toFixed(1));
  return [draw("path", { d: `M${a},0H${b}M${a},-4v8M${b},-4v8`, class: "whisker" })];
}

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

// Names of the points on the fronts, each where nothing else is; without such a place, no name.
function labels(wanted, s) {
  const group = draw("g", { class: "labels", "aria-hidden": "true" });
  const taken = places.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
  for (const p of wanted) {
    const [x, y] = [s.x(latency(p)), s.y(p.accuracy.top1)];
    const long = p.name.length * LETTER;
    const spots = [
      [x - 9 - long, y - 17], [x - 9 - long, y - 5], [x + 9, y + 4], [x - long / 2, y - 23],
      [x + 9, y - 7], [x - long / 2, y + 9], [x - 22 - long, y - 31], [x + 16, y + 18],
    ];
    for (const [left, top] of spots) {
      const box = [left, top, left + long, top + 14];
      const inside = left > s.margin.left && box[2] < s.width - 2 && top > 0 && box[3] < s.height - s.margin.bottom;
      if (!inside || taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      group.append(draw("text", { x: left, y: top + 11, class: familyClass(p.family) }, p.name));
      break;
    }
  }
  return group;
}

function describe(p) {
  const ms = p.timing.low === null ? "" : `, between ${measured(p.timing.low)} and ${measured(p.timing.high)}`;
  return `${p.name}, ${p.accuracy.training}: ${p.accuracy.top1} % top-1, ${measured(p.timing.ms)} milliseconds${ms}, ${seriesName(p.series)}`;
}

function paint() {
  const some = shown().sort((a, b) => latency(a) - latency(b));
  const { width, height } = chart.getBoundingClientRect();
  const s = scales(some, width, height);
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const groups = fronts(some);
  chart.replaceChildren(axes(s), ...groups.map(({ best }, i) => stairs(best, s, i)));
  const best = new Set(groups.flatMap((group) => group.best));
  current = Math.min(current, Math.max(some.length - 1, 0));
  const layer = draw("g", { class: "points" });
  chart.append(layer);
  places = some.map((p, index) => {
    const [x, y] = [s.x(latency(p)), s.y(p.accuracy.top1)];
    const element = draw("g", {
      class: `point ${familyClass(p.family)}${best.has(p) ? " best" : ""}`,
      transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
      role: "button",
      tabindex: index === current ? 0 : -1,
      "aria-label": describe(p),
      "aria-pressed": state.pins.includes(p.id),
      "data-id": p.id,
    });
    const size = width < NARROW ? 4.5 : 5.5;
    element.append(...whisker(p, s), draw("circle", { r: 11, class: "reach" }), mark(p.family, p.kind === data.plain, size));
    layer.append(element);
    return { p, x, y, element };
  });
  chart.append(labels([...best], s));
  if (!some.length) chart.append(draw("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "no network fits these filters"));
}

function show(place) {
  tip.replaceChildren(card(place.p));
  tip.hidden = false;
  for (const other of places) other.element.classList.toggle("faded", other.p.family !== place.p.family);
  const room = tip.parentElement.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  if (room.width < NARROW) {
    Object.assign(tip.style, { left: "0px", top: `${room.height}px` }); // below, or nothing of the chart is left
    return;
  }
  const right = place.x + 16 + width < room.width;
  tip.style.left = `${Math.max(0, right ? place.x + 16 : Math.min(place.x - width - 16, room.width - width))}px`;
  tip.style.top = `${Math.max(-room.top, Math.min(place.y - height / 3, window.innerHeight - room.top - height - 4))}px`;
}

function hide() {
  tip.hidden = true;
  for (const { element } of places) element.classList.remove("faded");
}

const placeOf = (event) => places.find(({ element }) => element === event.target.closest?.(".point"));

function step(event) {
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1, Home: -places.length, End: places.length };
  if (event.key === "Escape") hide();
  if ((event.key === "Enter" || event.key === " ") && placeOf(event)) {
    event.preventDefault();
    pin(placeOf(event).p.id);
  }
  if (!(event.key in moves) || !places.length) return;
  event.preventDefault();
  focusOn(Math.max(0, Math.min(places.length - 1, current + moves[event.key])));
}

function focusOn(index) {
  places[current]?.element.setAttribute("tabindex", -1);
  current = index;
  places[current].element.setAttribute("tabindex", 0);
  places[current].element.focus();
}

chart.addEventListener("keydown", step);
chart.addEventListener("pointerover", (event) => placeOf(event) && show(placeOf(event)));
chart.addEventListener("pointerout", (event) => placeOf(event) && hide());
chart.addEventListener("focusin", (event) => {
  const place = placeOf(event);
  if (!place) return;
  places[current]?.element.setAttribute("tabindex", -1);
  current = places.indexOf(place);
  place.element.setAttribute("tabindex", 0);
  show(place);
});
chart.addEventListener("focusout", hide);
chart.addEventListener("click", (event) => placeOf(event) && pin(placeOf(event).p.id));
