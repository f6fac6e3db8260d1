"""Write the README's table of models from the registry; with --check, only say whether it is up to date.

Parameters and multiply-adds are those of hvjax/rows/counts.json, which docs/write_model_pages.py counts; the
parity column comes from docs/results/parity.json, which `make parity` writes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from write_model_pages import families, read

from hvjax import info
from hvjax.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- models:begin (written by docs/write_model_table.py) -->", "<!-- models:end -->"
HEADER = """\
| family | model | parameters, train / deploy | multiply-adds | image | top-1, published | parity |
|---|---|---|---|---|---|---|
"""


def row(name: str, family: str, parity: dict[str, dict]) -> str:
    """Return one line of the table; `family` is empty but for the first of it."""
    facts = info.facts(name)
    accuracies = ", ".join(f"{r['top1']:.1f} at {r['image_size']}" for r in facts["published"])
    measured = f"{parity[name]['relative_error']:.1e}" if name in parity else "-"
    cells = [
        f"[{family}](https://arxiv.org/abs/{facts['paper']})" if family else "",
        f"[`{name}`](docs/models/{name}.md)",
        f"{facts['params'] / 1e6:.2f} / {facts['params_deploy'] / 1e6:.2f} M",
        f"{facts['macs'] / 1e9:.2f} G",
        str(facts["image_size"][0]),
        accuracies or "-",
        measured,
    ]
    return "| " + " | ".join(cells) + " |\n"


def table() -> str:
    """Return the whole table, family by family."""
    titles, parity = families(), read("parity.json")
    order = list(dict.fromkeys(titles[name] for name in MODELS))
    names = sorted(MODELS, key=lambda name: order.index(titles[name]))  # stable: the registry's order within
    lines, last = [], ""
    for name in names:
        lines.append(row(name, titles[name] if titles[name] != last else "", parity))
        last = titles[name]
    return HEADER + "".join(lines)


def main() -> int:
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    text = before + BEGIN + "\n" + table() + END + rest.split(END)[1]
    if text == readme.read_text():
        print("README.md: the table of models is up to date")
        return 0
    if "--check" in sys.argv[1:]:
        print("README.md: the table of models differs from the registry; run `make readme`")
        return 1
    readme.write_text(text)
    print("README.md: table of models written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
