"""Write the README's table of models from the registry; with --check, only say whether it is up to date.

The parity column comes from docs/results/parity.json, which `make parity` writes.
"""

import json
import sys
from pathlib import Path

import hvjax

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- models:begin (written by docs/write_model_table.py) -->", "<!-- models:end -->"
HEADER = """\
| name | parameters, train / deploy | multiply-adds | image | top-1, published | parity | paper |
|---|---|---|---|---|---|---|
"""


def parity_of(name: str) -> str:
    """Return the measured difference from timm, or a dash where none was measured."""
    file = ROOT / "docs" / "results" / "parity.json"
    if not file.is_file():
        return "-"
    measured = {row["model"]: row["relative_error"] for row in json.loads(file.read_text())["rows"]}
    return f"{measured[name]:.1e}" if name in measured else "-"


def row(name: str) -> str:
    """Return one line of the table."""
    facts = hvjax.describe(name)
    accuracies = ", ".join(f"{result.top1} at {result.image_size}" for result in facts.published)
    cells = [
        f"`{name}`",
        f"{facts.params:,} / {facts.params_deploy:,}",
        f"{facts.macs / 1e9:.2f} G",
        "x".join(map(str, facts.image_size)),
        accuracies,
        parity_of(name),
        f"[{facts.paper}](https://arxiv.org/abs/{facts.paper})",
    ]
    return "| " + " | ".join(cells) + " |\n"


def main() -> int:
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    text = before + BEGIN + "\n" + HEADER + "".join(row(name) for name in hvjax.list_models()) + END + after
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
