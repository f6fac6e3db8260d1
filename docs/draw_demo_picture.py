"""Stack the pictures that `make demo` drew into the README's picture: docs/images/demo.png."""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("training/learning_curve.png", "full_size_engine/report.png")
WIDTH, GAP = 1400, 24  # pixels


def main() -> int:
    missing = [part for part in PARTS if not (ROOT / "demo" / part).is_file()]
    if missing:
        print(f"demo/ lacks {', '.join(missing)}; run `make demo` first", file=sys.stderr)
        return 2
    pictures = [Image.open(ROOT / "demo" / part).convert("RGB") for part in PARTS]
    scaled = [
        p.resize((WIDTH, round(p.height * WIDTH / p.width)), Image.Resampling.LANCZOS) for p in pictures
    ]
    height = sum(p.height for p in scaled) + GAP * (len(scaled) - 1)
    canvas = Image.new("RGB", (WIDTH, height), "white")
    top = 0
    for picture in scaled:
        canvas.paste(picture, (0, top))
        top += picture.height + GAP
    target = ROOT / "docs" / "images" / "demo.png"
    canvas.quantize(128).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
