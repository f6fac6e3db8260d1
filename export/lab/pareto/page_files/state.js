// What is shown: the points, the filters, and how they stand in the address.
const data = JSON.parse(document.getElementById("data").textContent);

const measured = (ms) => String(ms < 100 ? Number(ms.toPrecision(3)) : Math.round(ms)); // three digits say enough
const nameOf = (accuracy) => `${accuracy.model}${data.models[accuracy.model].size === accuracy.size ? "" : `@${accuracy.size}`}`;

const points = data.timings.flatMap((timing) =>
  data.accuracies
    .filter((accuracy) => accuracy.model === timing.model && accuracy.size === timing.size)
    .map((accuracy) => {
      const series = data.series[timing.series];
      const { family } = data.models[accuracy.model];
      const { runtime, precision, batch, options, machine } = series;
      const words = [nameOf(accuracy), accuracy.training, runtime, precision, batch, options, machine];
      return { id: words.filter((word) => word !== "").join("/"), name: nameOf(accuracy), family, accuracy, timing, series, kind: accuracy.kind };
    }),
);

const FACETS = [
  { key: "family", label: "Family", of: (p) => p.family },
  { key: "training", label: "Training", of: (p) => p.kind },
  { key: "size", label: "Image size", of: (p) => p.accuracy.size, say: (v) => `${v} px` },
  { key: "runtime", label: "Runtime", of: (p) => p.series.runtime },
  { key: "precision", label: "Precision", of: (p) => p.series.precision },
  { key: "batch", label: "Batch", of: (p) => p.series.batch },
  { key: "options", label: "Options", of: (p) => p.series.options, say: (v) => v || "none", spare: true },
  { key: "machine", label: "Machine", of: (p) => p.series.machine, spare: true },
];
// Filters that begin with the largest series alone: fronts of one runtime, precision and batch can be read.
const ONE_AT_FIRST = ["runtime", "precision", "batch", "options", "machine"];
const DATA_SETS = ["measured", "published"].filter((set) => points.some((p) => p.series.data === set));

const state = { data: "measured", x: "call", filters: {}, sort: "ms", down: false, pins: [] };

function inDataSet() {
  return points.filter((p) => p.series.data === state.data);
}

function valuesOf(facet) {
  const values = [...new Set(inDataSet().map(facet.of))];
  return values.sort((a, b) => (typeof a === "number" ? a - b : 0)); // words stay in the order of the data
}

function defaults() {
  const first = data.series.findIndex((series) => series.data === state.data);
  const example = points.find((p) => p.timing.series === first);
  const filters = {};
  for (const facet of FACETS) {
    const one = state.data === "measured" && ONE_AT_FIRST.includes(facet.key) && example;
    filters[facet.key] = new Set(one ? [facet.of(example)] : valuesOf(facet));
  }
  return filters;
}

function fits(point, but) {
  return FACETS.every((facet) => facet.key === but || state.filters[facet.key].has(facet.of(point)));
}

const shown = () => inDataSet().filter((p) => fits(p));
const perImage = () => state.x === "image";
const scaled = (p, ms) => (perImage() ? ms / p.series.batch : ms);
const latency = (p) => scaled(p, p.timing.ms);

// As front.front in Python: by latency, and each more accurate than all before it.
function front(some) {
  const best = [];
  for (const p of [...some].sort((a, b) => latency(a) - latency(b) || b.accuracy.top1 - a.accuracy.top1)) {
    if (!best.length || p.accuracy.top1 > best[best.length - 1].accuracy.top1) best.push(p);
  }
  return best;
}

// One front for each series that is shown.
function fronts(some) {
  const groups = new Map();
  for (const p of some) groups.set(p.timing.series, [...(groups.get(p.timing.series) || []), p]);
  return [...groups].map(([index, group]) => ({ series: data.series[index], group, best: front(group) }));
}

function seriesName(series) {
  const words = [series.runtime, series.precision, `batch ${series.batch}`, series.options];
  return words.filter((word) => word !== "").join(", ");
}

const same = (a, b) => a.size === b.size && [...a].every((value) => b.has(value));

function toHash() {
  const words = state.data === DATA_SETS[0] ? [] : [`data=${state.data}`];
  if (perImage()) words.push("x=image");
  const usual = defaults();
  for (const { key } of FACETS) {
    if (same(state.filters[key], usual[key])) continue;
    words.push(`${key}=${[...state.filters[key]].map((value) => encodeURIComponent(value)).join(",")}`);
  }
  if (state.sort !== "ms" || state.down) words.push(`sort=${state.down ? "-" : ""}${state.sort}`);
  if (state.pins.length) words.push(`pin=${state.pins.map(encodeURIComponent).join(",")}`);
  return words.join("&");
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not from us
  }
}

// What an address does not say, or says of something that is not here, stays as it is by default.
function fromHash(hash) {
  const given = new Map();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at > 0) given.set(part.slice(0, at), part.slice(at + 1).split(",").map(decoded));
  }
  const [set] = given.get("data") || [];
  state.data = DATA_SETS.includes(set) ? set : DATA_SETS[0];
  state.x = (given.get("x") || [])[0] === "image" ? "image" : "call";
  state.filters = defaults();
  for (const facet of FACETS) {
    if (!given.has(facet.key)) continue;
    const wanted = given.get(facet.key);
    const found = valuesOf(facet).filter((value) => wanted.includes(String(value)));
    const none = wanted.length === 1 && wanted[0] === "" && !valuesOf(facet).includes("");
    if (found.length || none) state.filters[facet.key] = new Set(found);
  }
  const [sort] = given.get("sort") || ["ms"];
  const column = sort.replace(/^-/, "");
  state.sort = COLUMNS.some((one) => one.key === column) ? column : "ms";
  state.down = state.sort === column && sort.startsWith("-");
  const known = new Set(points.map((p) => p.id));
  state.pins = (given.get("pin") || []).filter((id) => known.has(id));
}
