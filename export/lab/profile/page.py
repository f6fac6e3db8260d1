"""A profile as one interactive page: hover for what a box is, click to zoom; nothing is fetched from
anywhere."""

from __future__ import annotations

import json
from html import escape

from export.lab.profile.colours import COLOUR_OF_KIND
from export.lab.profile.flame import INNER, Box, accounted, boxes, title
from export.lab.profile.kinds import KINDS, by_kind
from export.lab.profile.modules import Module
from export.lab.profile.op import Profile
from export.report_style import CSS

_STYLE = """
main { max-width: 1500px; }
#flame { position: relative; width: 100%; user-select: none; }
#flame button { all: unset; box-sizing: border-box; position: absolute; height: 25px; overflow: hidden;
  white-space: nowrap; text-overflow: ellipsis; font-size: 12px; line-height: 25px; text-indent: 3px;
  border-right: 1px solid #fff; border-bottom: 1px solid #fff; cursor: pointer; color: #111; }
#flame button:hover, #flame button:focus-visible { outline: 2px solid #111; z-index: 2; }
#tip { position: fixed; display: none; max-width: 480px; background: #fff; color: #111; border: 1px solid
##555;
  border-radius: 4px; padding: 7px 10px; font-size: 13px; pointer-events: none; z-index: 9; white-space:
  pre-line; }
.kinds span { display: inline-block; margin: 0 14px 4px 0; }
.kinds i { display: inline-block; width: 12px; height: 12px; margin-right: 5px; border: 1px solid #777; }
table { border-collapse: collapse; } td, th { padding: 2px 10px 2px 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
"""
_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const flame = document.getElementById('flame'), tip = document.getElementById('tip');
const total = data.boxes.length ? data.boxes[0].end : 1;
let from = 0, to = total;
const words = box => [
  (box.own ? box.label + ' of ' : '') + (box.path || data.model),
  box.ms.toPrecision(4) + ' ms, ' + (100 * box.ms / total).toFixed(2) + ' % of all operations, ' +
    box.count + (box.count === 1 ? ' operation' : ' operations'),
  Object.entries(box.kinds).sort((a, b) => b[1] - a[1])
    .map(([kind, ms]) => kind + ' ' + (100 * ms / box.ms).toFixed(1) + ' %').join(', '),
  Object.entries(box.types).sort((a, b) => b[1] - a[1]).slice(0, 12)
    .map(([type, count]) => count + ' ' + type).join(', '),
].join('\\n');
function place() {
  for (const [box, node] of nodes) {
    const left = Math.max(box.start, from), right = Math.min(box.end, to);
    node.style.display = right > left ? '' : 'none';
    node.style.left = 100 * (left - from) / (to - from) + '%';
    node.style.width = 100 * (right - left) / (to - from) + '%';
  }
  document.getElementById('back').hidden = from === 0 && to === total;
}
const nodes = data.boxes.map(box => {
  const node = document.createElement('button');
  node.textContent = box.label || box.path;
  node.style.top = 25 * box.level + 'px';
  node.style.background = box.colour;
  node.setAttribute('aria-label', words(box));
  node.addEventListener('click', () => { from = box.start; to = box.end; place(); });
  const show = (x, y) => {
    tip.textContent = words(box);
    tip.style.display = 'block';
    tip.style.left = Math.min(x + 14, innerWidth - tip.offsetWidth - 8) + 'px';
    tip.style.top = Math.min(y + 14, innerHeight - tip.offsetHeight - 8) + 'px';
  }; node.addEventListener('mousemove', event => show(event.clientX, event.clientY));
  node.addEventListener('focus', () => { const at = node.getBoundingClientRect(); show(at.left, at.bottom);
  }); for (const end of ['mouseleave', 'blur']) node.addEventListener(end, () => { tip.style.display = 'none';
  }); flame.append(node); return [box, node];
});
flame.style.height = 25 * (1 + Math.max(0, ...data.boxes.map(box => box.level))) + 'px';
document.getElementById('back').addEventListener('click', () => { from = 0; to = total; place(); });
place();
"""


def html(profile: Profile, root: Module) -> str:
    """The whole page."""
    found = boxes(root, profile.model)
    inner = {box.path.rpartition("/")[0] for box in found if box.level and not box.own}
    inner |= {box.path for box in found if box.own}
    data = {"model": profile.model, "boxes": [_as_dict(box, inner) for box in found]}
    text = json.dumps(data).replace("</", "<\\/")
    total = profile.total_ms or 1.0
    kinds = by_kind(profile.ops)
    legend = "".join(
        f'<span><i style="background:{COLOUR_OF_KIND[kind]}"></i>{kind} {kinds[kind] / total:.1%}</span>'
        for kind in KINDS
        if kind in kinds
    )
    lost = "".join(
        f"<tr><td>{escape(op.name)}</td><td>{escape(op.type)}</td><td>{op.ms:.4g}</td></tr>"
        for op in sorted(profile.unattributed, key=lambda op: -op.ms)
    )
    unattributed = (
        "<h2>Operations that belong to no known module</h2>"
        f"<table><tr><th>name</th><th>type</th><th>ms</th></tr>{lost}</table>"
        if lost
        else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title(profile))}</title><style>{CSS}{_STYLE}</style></head>
<body><main><h1>{escape(title(profile))}</h1>
<p>{escape(accounted(profile))} {escape(profile.how)}</p>
<p class="kinds">{legend}</p>
<p>Width is time, each level of boxes a level of modules. Hover for details, click to zoom.
<button id="back" hidden>show all</button></p>
<div id="flame"></div><div id="tip" role="tooltip"></div>{unattributed}</main>
<script type="application/json" id="data">{text}</script><script>{_SCRIPT}</script></body></html>
"""


def _as_dict(box: Box, inner: set[str]) -> dict[str, object]:
    leaf = box.own or box.path not in inner
    return {
        "path": box.path,
        "label": box.label,
        "level": box.level,
        "start": box.start,
        "end": box.end,
        "ms": box.ms,
        "kinds": dict(box.kinds),
        "types": dict(box.types),
        "count": box.count,
        "own": box.own,
        "colour": COLOUR_OF_KIND[box.kind] if leaf else INNER,
    }
