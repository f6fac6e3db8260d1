"""Write docs/latency.md from the stores in docs/results; with --check, only say whether it is up to date.

Read are, in docs/results/lab and docs/results/gpu and the folders below: bench*.jsonl (`export.bench`; a
second full run, with which the first is compared, is called bench_again.jsonl), NAME.jsonl, NAME.md and
NAME.claims.csv of the studies. What is not there yet is said to be missing.
"""

import ast
import csv
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from export.lab.page import Results, StudyPage, page  # noqa: E402
from export.lab.record import Record  # noqa: E402
from export.lab.store import Store  # noqa: E402

PAGE = ROOT / "docs" / "latency.md"
FOLDERS = (ROOT / "docs" / "results" / "lab", ROOT / "docs" / "results" / "gpu")
AGAIN = "bench_again.jsonl"
BEGIN, END = "<!-- latency:begin (written by docs/write_latency_page.py) -->", "<!-- latency:end -->"


def files(pattern: str, folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob(pattern))]


def records(paths: Sequence[Path]) -> list[Record]:
    """Those of networks at full size."""
    return [record for path in paths for record in Store(path).records if not record.small]


def studies(folders: Sequence[Path], home: Path) -> list[StudyPage]:
    """All of export.studies, whether they were run or not; links are relative to the folder `home`."""
    found = []
    for module in sorted((ROOT / "export" / "studies").glob("[a-z]*.py")):
        said = ast.get_docstring(ast.parse(module.read_text())) or module.stem
        title = re.sub(r":? ?`python -m [\w.]+`:? ?", "", " ".join(said.split("\n\n")[0].split())).rstrip(".")
        title = title[:1].upper() + title[1:]
        pages = files(f"{module.stem}.md", folders)
        claims = [
            row
            for path in files(f"{module.stem}.claims.csv", folders)
            for row in csv.DictReader(io.StringIO(path.read_text()))
        ]
        link = os.path.relpath(pages[0], home) if pages else None
        found.append(StudyPage(module.stem, title, link, claims))
    return found


def results(folders: Sequence[Path] = FOLDERS, home: Path = PAGE.parent) -> Results:
    stores = [path for path in files("*.jsonl", folders) if not path.name.endswith(".profiles.jsonl")]
    benches = [path for path in stores if path.name.startswith("bench")]
    pictures = {
        "Latency of all models": "bench.png",
        "Two full runs": "agreement.png",
    }
    return Results(
        bench=records([path for path in benches if path.name != AGAIN]),
        again=records([path for path in benches if path.name == AGAIN]),
        every=records(stores),
        studies=studies(folders, home),
        pictures={
            title: os.path.relpath(path, home)
            for title, name in pictures.items()
            for path in files(name, folders)
        },
    )


def text(before: str) -> str:
    head, rest = before.split(BEGIN)
    return head + BEGIN + "\n\n" + page(results()) + "\n" + END + rest.split(END)[1]


def main() -> int:
    before = PAGE.read_text()
    after = text(before)
    if after == before:
        print("docs/latency.md is up to date")
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/latency.md differs from docs/results; run `python docs/write_latency_page.py`")
        return 1
    PAGE.write_text(after)
    print("docs/latency.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
