"""`hvjax.load_pretrained` and `load_start`, against a small hub served on this machine."""

import dataclasses
import hashlib
import http.server
import json
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import hvjax
from hvjax import pretrained
from hvjax.ops.trees import flatten
from hvjax.registry import MODELS
from hvjax.spec import Pretrained

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def tensors(goldens: Path) -> dict[str, np.ndarray]:
    """A small ResNet with the names of torchvision."""
    stored = load_file(goldens / "resnet_a.safetensors")
    return {name.removeprefix("params/"): t for name, t in stored.items() if name.startswith("params/")}


@pytest.fixture
def config(goldens: Path):
    numbers = json.loads((goldens / "resnet_a.json").read_text())["config"]
    small = {"depths": tuple(numbers["layers"]), "widths": tuple(numbers["channels"]), "num_classes": 10}
    return dataclasses.replace(MODELS["resnet50"].config, **small)


@pytest.fixture
def hub(tensors, config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server with one repository; `resnet50` is small and has the tags "good" and "forged"."""
    import huggingface_hub.constants

    save_file(tensors, tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self, body: bytes = b"") -> None:
            asked.append(f"{self.command} {self.path}")
            found = self.path == f"/timm/tiny/resolve/{COMMIT}/model.safetensors"
            self.send_response(200 if found else 404)
            if found:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{digest}"')
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def do_GET(self) -> None:
            self.do_HEAD(content)

        def log_message(self, format, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HVJAX_WEIGHTS", str(tmp_path / "by_hand"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    row = dataclasses.replace(
        MODELS["resnet50"],
        config=config,
        pretrained=(
            Pretrained("good", "timm/tiny", "apache-2.0", revision=COMMIT, sha256=digest),
            Pretrained("forged", "timm/tiny", "apache-2.0", revision=COMMIT, sha256="0" * 64),
            Pretrained("gone", "timm/nothing", "mit", revision=COMMIT),
        ),
    )
    monkeypatch.setitem(MODELS, "resnet50", row)
    pretrained._print_licence.cache_clear()
    yield asked
    server.shutdown()
    server.server_close()


def same(ours, theirs) -> bool:
    ours, theirs = flatten(ours), flatten(theirs)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def test_downloads_once_and_names_the_licence_once(hub, tensors, capsys) -> None:
    model, variables = hvjax.load_pretrained("resnet50")
    assert same(variables, hvjax.load_torch(tensors, model))
    downloads = [line for line in hub if line.startswith("GET")]
    deploy, fused = hvjax.load_pretrained("resnet50", "good", deploy=True)
    assert deploy.deploy and "batch_stats" not in fused
    assert [line for line in hub if line.startswith("GET")] == downloads and len(downloads) == 1
    assert capsys.readouterr().err.count("weights timm/tiny: licence apache-2.0") == 1


def test_another_head_and_other_channels(hub, tensors) -> None:
    plain, reference = hvjax.load_pretrained("resnet50")
    with pytest.warns(UserWarning, match=r"head is drawn at random \(10 classes in the weights, 4 in"):
        _, variables = hvjax.load_pretrained("resnet50", num_classes=4)
    assert variables["params"]["head"]["kernel"].shape[-1] == 4
    assert same(variables["params"]["stage4"], reference["params"]["stage4"])
    with pytest.warns(UserWarning, match=r"stem.conv.kernel is summed over its 3 image channels"):
        gray, one = hvjax.load_pretrained("resnet50", in_channels=1)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype(np.float32)
    expected = plain.apply(reference, np.repeat(images, 3, -1))
    np.testing.assert_allclose(
        gray.apply(one, images), expected, rtol=1e-4, atol=1e-5
    )  # another order of sums
    with pytest.warns(UserWarning, match=r"made for 5 from its 3 image channels"):
        _, five = hvjax.load_pretrained("resnet50", in_channels=5)
    kernel = np.asarray(reference["params"]["stem"]["conv"]["kernel"])
    repeated = kernel[:, :, [0, 1, 2, 0, 1]] * np.float32(3 / 5)
    np.testing.assert_array_equal(five["params"]["stem"]["conv"]["kernel"], repeated)
    assert "head" not in hvjax.load_pretrained("resnet50", num_classes=0)[1]["params"]


def test_a_wrong_checksum_is_refused(hub) -> None:
    with pytest.raises(ValueError, match=r"has SHA-256 .*, expected 0000.*delete it"):
        hvjax.load_pretrained("resnet50", "forged")


def test_what_cannot_be_fetched_says_where_to_get_and_put_it(hub, tensors, tmp_path: Path) -> None:
    with pytest.raises(pretrained.WeightsUnavailable) as failure:
        hvjax.load_pretrained("resnet50", "gone")
    (line,) = str(failure.value).splitlines()
    assert f"/timm/nothing/resolve/{COMMIT}/model.safetensors" in line
    path = tmp_path / "by_hand" / "resnet50.gone.safetensors"
    assert line.endswith(f"put it at {path}")
    path.parent.mkdir()
    save_file(tensors, path)
    before = len(hub)
    assert hvjax.load_pretrained("resnet50", "gone")[0].variant == "resnet50"
    assert len(hub) == before  # the network is not asked


def test_unknown_tag_lists_the_known_ones(hub) -> None:
    with pytest.raises(ValueError, match="no published weights 'better'; it has good, forged, gone"):
        hvjax.load_pretrained("resnet50", "better")


def test_start_from_files(tensors, config, tmp_path: Path) -> None:
    """Our own file and a PyTorch one, with the head of another task."""
    overrides = {"depths": config.depths, "widths": config.widths}
    donor = hvjax.create_model("resnet50", **overrides, num_classes=10)
    reference = hvjax.load_torch(tensors, donor)
    hvjax.save_weights(tmp_path / "ours.safetensors", reference, donor)
    save_file(tensors, tmp_path / "theirs.safetensors")
    model = hvjax.create_model("resnet50", **overrides, num_classes=3)
    for file in ("ours.safetensors", "theirs.safetensors"):
        assert same(pretrained.load_start(str(tmp_path / file), donor), reference)
        with pytest.warns(UserWarning, match="10 classes in the weights, 3 in the model"):
            start = pretrained.load_start(str(tmp_path / file), model, jax.random.key(1))
        assert same(start["batch_stats"], reference["batch_stats"])
        assert start["params"]["head"]["bias"].shape == (3,)
    with pytest.raises(ValueError, match="is of resnet50, not of next_vit_s"):
        pretrained.load_start(str(tmp_path / "ours.safetensors"), hvjax.create_model("next_vit_s"))
    fused = hvjax.reparameterize(donor, reference)
    hvjax.save_weights(tmp_path / "fused.safetensors", fused[1], fused[0])
    with pytest.raises(ValueError, match="holds the deploy form, and the model has the training form"):
        pretrained.load_start(str(tmp_path / "fused.safetensors"), model)
    with pytest.raises(FileNotFoundError, match=r"expected one, or pretrained:TAG"):
        pretrained.load_start("nowhere.safetensors", model)
    other = hvjax.create_model(
        "resnet50", depths=(1, *config.depths[1:]), widths=config.widths, num_classes=10
    )
    with pytest.raises(ValueError, match=r"in more than its head .*stage1\.block2"):
        pretrained.load_start(str(tmp_path / "ours.safetensors"), other)
