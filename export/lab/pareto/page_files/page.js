// Filters, pinned points and the table; everything is drawn again after each change.
const COLUMNS = [
  { key: "name", label: "Network", of: (p) => p.name },
  { key: "family", label: "Family", of: (p) => p.family },
  { key: "size", label: "px", of: (p) => p.accuracy.size, numeric: true },
  { key: "training", label: "Training", of: (p) => p.accuracy.training },
  { key: "top1", label: "Top-1, %", of: (p) => p.accuracy.top1, numeric: true },
  { key: "ms", label: "Latency, ms", of: latency, say: (p) => measured(latency(p)), numeric: true },
  { key: "interval", label: "95 % interval", of: (p) => p.timing.low ?? 0, say: interval, numeric: true },
  { key: "front", label: "Front", of: (p) => (onFront.has(p) ? 0 : 1), say: (p) => (onFront.has(p) ? "yes" : "") },
  { key: "params", label: "Params, M", of: (p) => p.timing.params ?? 0, say: (p) => millions(p.timing.params, 1e6), numeric: true },
  { key: "macs", label: "GMACs", of: (p) => p.timing.macs ?? 0, say: (p) => millions(p.timing.macs, 1e9), numeric: true },
  { key: "series", label: "Run by", of: (p) => seriesName(p.series) },
  { key: "source", label: "Source of the accuracy", of: (p) => p.accuracy.source },
];
const millions = (value, unit) => (value === null ? "" : (value / unit).toFixed(2));
let onFront = new Set();

function change(edit) {
  edit();
  history.replaceState(null, "", `#${toHash()}`);
  refresh();
}

function pin(id) {
  const index = places[current]?.p.id;
  change(() => {
    state.pins = state.pins.includes(id) ? state.pins.filter((one) => one !== id) : [...state.pins, id];
  });
  const again = places.find(({ p }) => p.id === index);
  if (again && document.activeElement === document.body) again.element.focus();
}

function chips(facet) {
  const values = valuesOf(facet);
  if (facet.spare && values.length < 2) return [];
  const here = inDataSet().filter((p) => fits(p, facet.key));
  const boxes = values.map((value) => {
    const count = here.filter((p) => facet.of(p) === value).length;
    const input = make("input", {
      type: "checkbox",
      id: `${facet.key}:${value}`,
      onchange: (event) => change(() => state.filters[facet.key][event.target.checked ? "add" : "delete"](value)),
    });
    input.checked = state.filters[facet.key].has(value);
    const label = make("label", { class: facet.key === "family" ? familyClass(value) : "" }, input);
    if (facet.key === "family") {
      const picture = draw("svg", { width: 14, height: 14, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, mark(value, true, 6));
      label.append(picture);
    }
    label.append(make("span", {}, facet.say ? facet.say(value) : String(value)), make("small", {}, String(count)));
    return label;
  });
  const all = (label, some) =>
    make("button", { type: "button", id: `${facet.key}:${label}`, "aria-label": `${facet.label}: ${label}`, onclick: () => change(() => (state.filters[facet.key] = new Set(some))) }, label);
  const buttons = values.length > 2 ? [all("all", values), all("none", [])] : [];
  return [make("fieldset", {}, make("legend", {}, facet.label, " ", ...buttons), ...boxes)];
}

function choice(name, label, options) {
  const inputs = options.map(([value, words]) => {
    const input = make("input", { type: "radio", name, id: `${name}:${value}`, onchange: () => change(() => choose(name, value)) });
    input.checked = state[name] === value;
    return make("label", {}, input, make("span", {}, words));
  });
  return make("fieldset", {}, make("legend", {}, label), ...inputs);
}

function choose(name, value) {
  state[name] = value;
  if (name === "data") state.filters = defaults();
}

function filters() {
  const sets = [["measured", "measured by us"], ["published", "published by the authors"]].filter(([set]) => DATA_SETS.includes(set));
  const focused = document.activeElement?.id;
  byId("filters").replaceChildren(
    choice("data", "Latency", sets),
    choice("x", "Of", [["call", "one call"], ["image", "one image (call / batch)"]]),
    ...FACETS.flatMap(chips),
  );
  if (focused) byId(focused)?.focus();
}

function summary(groups) {
  const count = groups.reduce((sum, { group }) => sum + group.length, 0);
  const points = `${count} ${count === 1 ? "point" : "points"}`;
  const whose = state.data === "published" ? ", latency as the authors publish it" : "";
  const several = groups.length > 1
    ? ` in ${groups.length} series, each with its own front: a network looks the same in all of them.`
    : groups.length ? `: ${seriesName(groups[0].series)}, on ${groups[0].series.machine}.` : ".";
  byId("count").textContent = points + whose + several;
  const machines = new Set(groups.map(({ series }) => series.machine));
  const lines = groups.map(({ series, best }, index) => {
    const line = draw("svg", { width: 34, height: 10, "aria-hidden": "true" });
    line.append(draw("path", { d: "M1,5H33", class: "front", "stroke-dasharray": DASHES[index % DASHES.length] }));
    const names = best.map((p) => `${p.name} (${p.accuracy.top1} %, ${measured(latency(p))} ms)`);
    return make("li", {}, line, make("b", {}, ` ${seriesName(series)}${machines.size > 1 ? `, on ${series.machine}` : ""}: `), names.join(", "));
  });
  byId("fronts").replaceChildren(...lines);
}

function pinned() {
  const found = state.pins.map((id) => points.find((p) => p.id === id)).filter(Boolean);
  byId("pins").replaceChildren(
    ...found.map((p) => {
      const close = make("button", { type: "button", class: "close", "aria-label": `remove ${p.name}`, onclick: () => pin(p.id) }, "×");
      const whole = card(p);
      whole.prepend(close);
      return whole;
    }),
  );
  byId("pinned").hidden = !found.length;
}

function order(a, b) {
  const column = COLUMNS.find(({ key }) => key === state.sort);
  const [x, y] = [column.of(a), column.of(b)];
  const sign = typeof x === "number" ? x - y : Number(x > y) - Number(x < y);
  return (state.down ? -sign : sign) || latency(a) - latency(b);
}

function table(some) {
  const head = COLUMNS.map((column) => {
    const sorted = column.key === state.sort;
    const button = make("button", {
      type: "button",
      id: `sort:${column.key}`,
      onclick: () => change(() => Object.assign(state, { sort: column.key, down: sorted && !state.down })),
    }, column.label, sorted ? (state.down ? " ▼" : " ▲") : "");
    return make("th", { scope: "col", class: column.numeric ? "number" : "", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none" }, button);
  });
  const rows = [...some].sort(order).map((p) => {
    const cells = COLUMNS.slice(1).map((column) =>
      make("td", { class: column.numeric ? "number" : "" }, column.say ? column.say(p) : String(column.of(p))),
    );
    const button = make("button", { type: "button", "aria-label": `pin ${p.name}, ${p.accuracy.training}`, onclick: () => pin(p.id) }, p.name);
    return make("tr", { "data-id": p.id }, make("th", { scope: "row" }, button), ...cells);
  });
  const focused = document.activeElement?.id;
  byId("head").replaceChildren(make("tr", {}, ...head));
  byId("rows").replaceChildren(...rows);
  if (focused) byId(focused)?.focus();
}

function refresh() {
  hide();
  const groups = fronts(shown());
  onFront = new Set(groups.flatMap(({ best }) => best));
  filters();
  paint();
  summary(groups);
  pinned();
  table(shown());
}

function start() {
  fromHash(location.hash);
  refresh();
}

window.addEventListener("hashchange", start);
new ResizeObserver(() => {
  hide();
  paint();
}).observe(chart);
byId("copy").addEventListener("click", async () => {
  const say = (words) => (byId("copied").textContent = words);
  try {
    await navigator.clipboard.writeText(location.href);
    say("copied");
  } catch {
    say("copy the address of this page: it holds the filters");
  }
});
start();
