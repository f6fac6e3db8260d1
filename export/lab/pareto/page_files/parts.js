// Elements made without ever reading text as HTML: whatever a name contains stays text.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

// Outlines around (0, 0) of about the same area.
const OUTLINES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  square: (r) => polygon([[-1, -1], [1, -1], [1, 1], [-1, 1]], 0.88 * r),
  triangle: (r) => polygon([[0, -1.25], [1.15, 0.85], [-1.15, 0.85]], r),
  down: (r) => polygon([[0, 1.25], [1.15, -0.85], [-1.15, -0.85]], r),
  diamond: (r) => polygon([[0, -1.3], [1.15, 0], [0, 1.3], [-1.15, 0]], r),
  plus: (r) => polygon(PLUS, 1.15 * r),
  cross: (r) => polygon(PLUS.map(([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2]), 1.2 * r),
  star: (r) => polygon(STAR, 1.45 * r),
};
const PLUS = [
  [-0.36, -1], [0.36, -1], [0.36, -0.36], [1, -0.36], [1, 0.36], [0.36, 0.36],
  [0.36, 1], [-0.36, 1], [-0.36, 0.36], [-1, 0.36], [-1, -0.36], [-0.36, -0.36],
];
const STAR = [...Array(10).keys()].map((i) => {
  const [radius, angle] = [i % 2 ? 0.45 : 1, (i * Math.PI) / 5];
  return [radius * Math.sin(angle), -radius * Math.cos(angle)];
});

function polygon(corners, r) {
  return `M${corners.map(([x, y]) => `${(x * r).toFixed(2)},${(y * r).toFixed(2)}`).join("L")}Z`;
}

// Filled for training on ImageNet-1k alone, hollow for all that had more help.
function mark(family, plain, r = 5.5) {
  const { shape } = data.families[family];
  return draw("path", { d: OUTLINES[shape](r), class: plain ? "mark" : "mark hollow" });
}

const familyClass = (family) => `family-${Object.keys(data.families).indexOf(family)}`;

const number = (value, digits) => (value === null ? "" : value.toFixed(digits));

function interval(p) {
  const { low, high } = p.timing;
  return low === null ? "" : `${measured(scaled(p, low))} to ${measured(scaled(p, high))}`;
}

// All that is known of a point, as pairs of a word and what it says.
function facts(p) {
  const { accuracy, timing, series } = p;
  const origin = data.origins[timing.origin];
  const call = series.batch === 1 ? "one image" : `${series.batch} images`;
  const spread = timing.low === null ? "no interval published" : `95 % interval ${measured(timing.low)} to ${measured(timing.high)}`;
  const calls = timing.calls === null ? "" : `, ${timing.calls} calls`;
  const [height, width] = timing.at;
  const pairs = [
    ["Top-1", `${accuracy.top1} %`],
    ["Source", accuracy.source],
    ...accuracy.others.map((other) => ["Also", `${other.top1} %, ${other.source}`]),
    ["Training", accuracy.training],
    ["Image size", `${accuracy.size} px`],
    ["Latency", `${measured(timing.ms)} ms for ${call} (${spread}${calls})`],
    ["Run by", seriesName(series)],
    ["Machine", series.machine],
  ];
  if (height !== accuracy.size || width !== accuracy.size) pairs.push(["Timed at", `${height} x ${width} px`]);
  if (timing.params !== null) pairs.push(["Parameters", `${number(timing.params / 1e6, 2)} M`]);
  if (timing.macs !== null) pairs.push(["MACs", `${number(timing.macs / 1e9, 3)} G for one image`]);
  for (const note of timing.notes) pairs.push(["Note", note]);
  if (origin.source) return [...pairs, ["Latency from", origin.source]];
  const versions = Object.entries(origin.versions).map(([name, version]) => `${name} ${version}`);
  return [...pairs, ["Measured", `${timing.date}, ${origin.clock}`], ["Versions", versions.join(", ")], ["Command", origin.command]];
}

function card(p) {
  const list = make("dl");
  for (const [word, text] of facts(p)) list.append(make("dt", {}, word), make("dd", {}, text));
  const picture = draw("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  picture.append(mark(p.family, p.kind === data.plain, 5.5));
  return make("div", { class: `card ${familyClass(p.family)}` }, make("h3", {}, picture, ` ${p.name}`), list);
}
