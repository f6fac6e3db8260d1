"""The Python blocks of the documentation that are marked as such run, in order."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import hvjax
from hvjax.facts import count_parameters
from hvjax.ops.trees import flatten
from hvjax.structure import abstract_variables

MARK = "<!-- tests/test_docs.py runs this block -->\n"


def run_blocks(page: Path) -> dict:
    blocks = re.findall(re.escape(MARK) + r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == page.read_text().count(MARK.strip()) > 0
    names: dict = {}
    for block in blocks:
        exec(block, names)
    return names


def test_reparameterization_page(repository: Path) -> None:
    names = run_blocks(repository / "docs" / "reparameterization.md")
    expected = names["model"].apply(names["variables"], names["images"])
    np.testing.assert_allclose(names["logits"], expected, atol=1e-5 * float(abs(expected).max()))


def test_weights_page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(torchvision_resnet50(), "resnet50.safetensors")
    names = run_blocks(repository / "docs" / "weights.md")
    assert names["logits"].shape == (1, 37)
    assert names["same_model"] == names["model"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "pets.safetensors",
        "resnet50.safetensors",
        "tensors_only.safetensors",
    ]


def test_dense_page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_blocks(repository / "docs" / "dense.md")
    assert names["logits"].shape == (2, 64, 96, 150)
    assert names["same_model"] == names["model"]
    stem = names["variables"]["params"]["backbone"]["stem"]
    np.testing.assert_array_equal(
        stem["unit1"]["conv"]["kernel"], names["weights"]["params"]["stem"]["unit1"]["conv"]["kernel"]
    )


def test_mask_rcnn_page(repository: Path) -> None:
    names = run_blocks(repository / "docs" / "mask_rcnn.md")
    assert {name: value.shape for name, value in names["found"].items()} == {
        "boxes": (1, 100, 4),
        "scores": (1, 100),
        "labels": (1, 100),
        "masks": (1, 100, 28, 28),
    }
    assert set(names["losses"]) == {"rpn_objectness", "rpn_box", "box_class", "box_regression", "mask"}


def test_trt_vit_page(repository: Path) -> None:
    run_blocks(repository / "docs" / "trt_vit.md")


def test_next_vit_ablations_page(repository: Path) -> None:
    """The calls work, and two of the counts that the page lists are those of the networks."""
    page = repository / "docs" / "next_vit_ablations.md"
    names = run_blocks(page)
    listed = {
        line.split(" | ")[0]: line.split(" | ")[1:] for line in page.read_text().splitlines() if " | " in line
    }
    for row, model in {'| `conv_block="lsa"`': names["lsa"], "| `mix_ratio=1`": names["ratios"][1]}.items():
        assert listed[row][0] == f"{count_parameters(abstract_variables(model)):,}"


def test_export_page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of the page, in ONNX Runtime, give what JAX gives; the file's graph is that of the code."""
    import jax
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    names = run_blocks(repository / "docs" / "export.md")
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)

    def run(model: str, images: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(
            names[model].SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {session.get_inputs()[0].name: images})[0]

    logits = np.asarray(jax.jit(names["Net"]().apply)(names["variables"], images))
    for model in ("linen_model", "file_model"):
        found = run(model, images.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(found, logits, atol=1e-5 * float(abs(logits).max()))
    features = np.asarray(names["net"](images[:1]))
    found = run("nnx_model", images[:1])
    np.testing.assert_allclose(found, features, atol=1e-5 * float(abs(features).max()))
    assert [info.name for info in names["nnx_model"].graph.output] == ["features"]
    held = {tensor.name for tensor in names["nnx_model"].graph.initializer}
    assert held == {"layers.0.bias", "layers.0.kernel"}  # the batch norm is in them


def test_latency_lab_page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study of the page measures, and writes all its files."""
    monkeypatch.chdir(tmp_path)
    names = run_blocks(repository / "docs" / "latency_lab.md")
    assert names["status"] == 0
    folder = tmp_path / "studies" / "image_size-small"
    assert {file.suffix for file in folder.iterdir()} == {".csv", ".md", ".png", ".svg", ".jsonl"}
    assert "larger images take longer" in (folder / "image_size.md").read_text()


@pytest.mark.parametrize(
    "page",
    ["latency_lab.md", "reparameterization.md", "results/README.md", "studies_pareto.md", "weights.md"],
)
def test_links_lead_somewhere(repository: Path, page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (repository / "docs" / page).read_text())
    assert targets
    assert not [
        target for target in targets if not (repository / "docs" / page).parent.joinpath(target).exists()
    ]


def torchvision_resnet50() -> dict[str, np.ndarray]:
    """Ones under the names and shapes of a torchvision file, for the example to find."""
    ours = abstract_variables(hvjax.create_model("resnet50"))
    state_dict = {}
    for path, leaf in flatten(ours).items():
        name = (
            ".".join(path[1:]).replace("stem.conv", "conv1").replace("stem.norm", "bn1").replace("head", "fc")
        )
        name = re.sub(r"stage(\d)\.block(\d+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}", name)
        name = name.replace("shortcut.conv", "downsample.0").replace("shortcut.norm", "downsample.1")
        name = re.sub(r"\bnorm(\d)", r"bn\1", name)
        name = re.sub(r"\.(kernel|scale)$", ".weight", name)
        name = re.sub(r"\.(mean|var)$", r".running_\1", name)
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(leaf.shape)]
        state_dict[name] = np.ones([leaf.shape[axis] for axis in axes], np.float32)
    return state_dict
