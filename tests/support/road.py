"""`to_trt` in a process that has NumPy and a TensorRT, and nothing else of what an export needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: Nothing of these is on a Jetson; onnx and onnxruntime are optional there.
REFUSED = (
    "jax", "jaxlib", "flax", "hvjax", "tensorflow", "tf2onnx", "optax", "orbax", "ml_collections",
    "matplotlib", "jaxtyping", "safetensors", "PIL", "sklearn", "onnx", "onnxruntime",
)  # fmt: skip
#: First line of what the process prints about itself.
MARK = "LOADED "
DRIVER = """
import json, sys
refused = set(json.loads(sys.argv[1]))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refuse())
from export import to_trt
status = to_trt.main(sys.argv[2:])
files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "export" and m.__file__]
print("LOADED " + json.dumps(sorted(files)))
sys.exit(status)
"""


def walk(
    repository: Path, *arguments: str, allowed: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """What the process answered, and the modules of `export` that it loaded; `allowed`: a package that it has
    besides."""
    refused = [name for name in REFUSED if name != allowed]
    answer = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(refused), *arguments],
        capture_output=True,
        text=True,
        cwd="/",  # a module is imported from `repository` or not at all
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    last = answer.stdout.strip().splitlines()[-1] if answer.stdout.strip() else ""
    files = json.loads(last.removeprefix(MARK)) if last.startswith(MARK) else []
    return answer, [Path(file) for file in files]
