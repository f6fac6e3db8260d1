"""report.json as a page a stranger can read: one file, no scripts, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from export import report_charts as charts
from export import report_proof as proof
from export.economy import MOVING
from export.ends.spec import from_dict
from export.precision.report import precision_card
from export.precision.worth import worth_card
from export.quantize.card import quantise_card
from export.report_lines import comparisons, error, stage_limit, whose, worst_line
from export.report_parts import bullets, card, in_bytes, in_short, table
from export.report_style import CSS

Data = Mapping[str, Any]


def page(data: Data) -> str:
    """The whole page. `data` is what `report.report_data` returns."""
    name = f"{data['model']['name']}, {data['model']['precision']}"
    sections = (
        _head(data), _tiles(data), _stages(data), comparisons(data), precision_card(data), worth_card(data),
        quantise_card(data),
        proof.validation(data), _graph(data), _engine(data), _options(data), proof.layers(data),
        _latency(data), proof.files(data), _seconds(data), _model(data),
        _origin(data),
    )  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Export report: {escape(name)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(data: Data) -> str:
    model, accepted = data["model"], data["accepted"]
    height, width = model["image_size"]
    badge = (
        '<span class="badge good">accepted</span>' if accepted else '<span class="badge bad">rejected</span>'
    )
    engine, gate = data["engine"], data["gate"]
    if accepted:
        words = "The ONNX file gives the answers of the JAX model on real images, within the limit."
        if gate.get("emulated"):
            words += (
                " Its rounding was emulated: a float32 copy of the file rounds every tensor as the file does."
            )
        if engine["status"] == "built, not run":
            words += (
                f" The engine was built by {engine['runtime']} but not run here: {engine['why_not_run']}. "
                "It has not been checked on a GPU yet."
            )
        elif engine["status"].startswith("ran"):
            words += " So does the engine, run on this machine's GPU."
        body = f"<p>{escape(words)}</p>"
    else:
        body = "<p>Do not deploy these files.</p>" + bullets(data["reasons"])
    banner = ""
    if model["random_weights"]:
        banner = (
            '<div class="banner">Random weights: this export tries the road, '
            "its model has learnt nothing.</div>"
        )
    notices = "".join(f'<div class="banner">{escape(text)}</div>' for text in data["notices"])
    return (
        f"<h1>{escape(model['name'])} <code>{escape(model['precision'])}</code></h1>"
        f'<p class="what">Export report: {height}x{width} pixels, batch {_batch(model["batch"])}, '
        f"{escape(model['source'])}</p>{banner}{notices}"
        f'<div class="card verdict">{badge}<div>{body}</div></div>'
    )


def _tiles(data: Data) -> str:
    gate, engine, graph = data["gate"], data["engine"], data["graph"]
    lines = [line for line in gate["comparisons"] if line["candidate"].startswith("model.onnx")]
    worst = worst_line(gate)
    tops = [line["top1"] for line in lines if line["top1"] is not None]
    tiles = [
        (
            error(worst["relative"]),
            f"largest error of {whose(lines)}, relative (limit {in_short(worst['limit'])})",
        ),
        (f"{graph['nodes']}", f"ONNX nodes, {graph['transposes']} of them Transposes"),
        (in_bytes(graph["bytes"]), f"model.onnx, {graph['parameters'] / 1e6:.1f} M parameters"),
    ]
    if tops:
        tiles.insert(
            1, (f"{100 * min(tops):.0f} %", f"same top-1 class as JAX, {gate['images']['count']} images")
        )
    if "kernels" in engine:
        tiles.append((str(engine["kernels"]), f"GPU kernels, {engine['data_movements']} only move data"))
    if "bytes" in engine:
        tiles.append((in_bytes(engine["bytes"]), f"model.engine, built in {engine['build_seconds']:.1f} s"))
    if data["latency"]:
        first = data["latency"][-1]
        tiles.append(
            (f"{first['median_ms']:.2f} ms", f"median for {first['batch']} images, {first['where']}")
        )
    marks = [' class="fail"' if index == 0 and not gate["passed"] else "" for index in range(len(tiles))]
    cells = "".join(
        f'<div class="tile"><b{mark}>{escape(number)}</b><span>{escape(words)}</span></div>'
        for mark, (number, words) in zip(marks, tiles, strict=True)
    )
    return f'<div class="tiles">{cells}</div>'


def _stages(data: Data) -> str:
    gate = data["gate"]
    if not gate["stages"]:
        return ""
    behind = gate.get("behind")
    final = "" if behind else gate["stages"][-1]["stage"]
    limit = stage_limit(gate)
    chart = charts.stage_errors(gate["stages"], limit, gate["noise"], gate["begins_at"], final)
    begins = (
        f'<p class="fail">The error begins at {escape(gate["begins_at"])}.</p>' if gate["begins_at"] else ""
    )
    held = f"each stage; {escape(behind)} come after these" if behind else "the final output"
    key = f'<p class="key"><i></i>limit for {held}'
    if gate["noise"]:
        key += '<i class="noise"></i>rounding: how far two correct float32 forms in JAX are apart'
    what = (
        "Largest difference between the file and JAX inside the network, divided by the largest value of "
        f"that stage. Measured on {escape(gate['images']['source'])}."
    )
    return card("Error by stage", what, f"{begins}{chart}{key}</p>")


def _graph(data: Data) -> str:
    graph = data["graph"]
    rows = [
        (name, count, str(count), "move" if name in MOVING else "bar")
        for name, count in list(graph["operators"].items())[:12]
    ]
    rest = sum(list(graph["operators"].values())[12:])
    if rest:
        rows.append(("others", rest, str(rest), "soft"))
    what = (
        f"{graph['nodes']} nodes, opset {graph['opset']}, IR version {graph['ir_version']}. Orange operators "
        f"only move or reshape data ({graph['moving_nodes']})."
    )
    return card("ONNX graph", what, charts.bars(rows, "Nodes by operator"))


def _engine(data: Data) -> str:
    engine = data["engine"]
    if engine["status"] == "none":
        return ""
    if engine["error"]:
        return card("Engine", "The engine was not built.", f'<p class="fail">{escape(engine["error"])}</p>')
    if "kernels" not in engine:
        return card("Engine", f"{engine['runtime']}: {engine['status']}. It does not list its kernels.", "")
    moving = engine["data_movements"]
    body = charts.split(
        [("compute", engine["kernels"] - moving, "bar"), ("only move data", moving, "move")], "Kernels"
    )
    kinds = ", ".join(f"{count} {name}" for name, count in engine["kinds"].items())
    types = ", ".join(f"{count} {name}" for name, count in engine["written_types"].items())
    body += f'<p class="what">By the builder\'s kinds: {escape(kinds)}. Tensors written: {escape(types)}.</p>'
    if engine.get("profile"):
        body += f'<p class="what">{escape(_profile(engine["profile"]))}</p>'
    if engine["data_movement_names"]:
        names = ", ".join(engine["data_movement_names"])
        body += (
            f"<details><summary>Kernels that only move data</summary><code>{escape(names)}</code></details>"
        )
    version = data["versions"].get(engine["runtime"], "")
    what = (
        f"{engine['runtime']} {version}: {engine['layers_parsed']} layers were read and fused into "
        f"{engine['kernels']} kernels, as the builder itself lists them. Fewer kernels mean fewer launches "
        "and less traffic to memory."
    )
    return card("Engine", what, body)


def _profile(profile: Data) -> str:
    """The optimisation profile of a dynamic batch, in words."""
    shapes = ", ".join("x".join(map(str, profile[key])) for key in ("min", "opt", "max"))
    return f"Optimisation profile of {profile['input']}, smallest, typical and largest: {shapes}."


def _options(data: Data) -> str:
    """The rare options of the builder, if any was asked for."""
    options = data["engine"].get("options") or {}
    if not options.get("line"):
        return ""
    rows = [("builder flags", ", ".join(options.get("builder_flags") or ()) or "none")]
    for key in ("hardware_compatible", "optimization_level"):
        if options[key] is not None:
            rows.append((key.replace("_", " "), str(options[key])))
    for key, value in (options["timing_cache"] or {}).items():
        rows.append((f"timing cache: {key.replace('_', ' ')}", "none" if value is None else str(value)))
    cells = [(name, f"<code>{escape(value)}</code>") for name, value in rows]
    return card("Options of the builder", f"The engine: {escape(options['line'])}.", table(("", ""), cells))


def _latency(data: Data) -> str:
    if not data["latency"]:
        return ""
    first = data["latency"][0]
    threads = f", {first['threads']} threads" if first["threads"] else ""
    what = f"On {first['where']}{threads}, by {first['clock']}, after {first['warm_up']} uncounted runs."
    if first["where"].startswith("CPU"):
        what += " This is the ONNX file on the CPU of this machine, not the engine on a GPU."
    elif first["cuda_graph"]:
        what += " Launched as a CUDA graph; copies to and from the GPU are not included."
    else:
        what += " Copies to and from the GPU are not included."
    head = ("batch", "median", "p90", "p95", "p99", "images/s", "runs")
    rows = [
        (
            str(row["batch"]),
            *(f"{row[key]:.2f} ms" for key in ("median_ms", "p90_ms", "p95_ms", "p99_ms")),
            f"{row['images_per_second']:,.0f}",
            str(row["runs"]),
        )
        for row in data["latency"]
    ]
    body = charts.ranges(data["latency"], "Latency") + table(head, rows, numbers=range(7))
    return card("Latency", what, body)


def _seconds(data: Data) -> str:
    seconds = [(name, value, f"{value:.1f} s", "bar") for name, value in data["seconds"].items()]
    return card("Time of this export", "Seconds by stage.", charts.bars(seconds, "Seconds by stage"))


def _model(data: Data) -> str:
    model = data["model"]
    ends = from_dict(model)
    prepared = (
        "nothing: pixels in 0..255 as they are" if ends.takes_pictures else "(pixels / 255 - mean) / std"
    )
    rows = [
        (
            "input",
            f"<code>images</code> {escape(model.get('input_dtype', 'float32'))} "
            f"{_shape(model['input_shape'])} ({model['input_layout']})",
        ),
        (
            "prepare with",
            f"{prepared}; mean {_numbers(model['mean'])}, std {_numbers(model['std'])}",
        ),
        *([("the file", escape(words))] if (words := ends.line(model["input_layout"])) else []),
        ("classes", str(model["num_classes"])),
        ("front end", escape(model["via"])),
    ]
    names = ""
    if model["class_names"]:
        listed = ", ".join(str(name) for name in model["class_names"])
        names = f"<details><summary>Names of the classes</summary>{escape(listed)}</details>"
    return card("How to feed it", "", table(("", ""), rows) + names)


def _origin(data: Data) -> str:
    machine, rows = data["machine"], [(escape(k), escape(str(v))) for k, v in data["versions"].items()]
    gpu = "".join(f", {key} {value}" for key, value in (data["gpu"] or {}).items())
    where = f"{machine['processor']}, {machine['cpus']} CPUs, {machine['system']}{gpu or ', no GPU'}"
    body = f"<p><code>{escape(data['command'])}</code></p><p class='what'>{escape(where)}</p>"
    body += f"<details><summary>Versions</summary>{table(('package', 'version'), rows)}</details>"
    return card("Made by", "", body) + f"<footer>Written by hvjax on {escape(data['created'])}.</footer>"


def _batch(batch: Data) -> str:
    if batch["minimum"] == batch["maximum"]:
        return str(batch["typical"])
    return f"{batch['minimum']} to {batch['maximum']} (tuned for {batch['typical']})"


def _shape(sizes: Sequence[object]) -> str:
    return escape(" x ".join(str(size) for size in sizes))


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
