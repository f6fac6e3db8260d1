"""Damage, full disks, two runs in one place, changed configs, losses that are not finite."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_tpu import assembly
from train_tpu.checkpointing import manifest, workdir
from train_tpu.checkpointing.checkpoint import Checkpoints, load_inference
from train_tpu.checkpointing.lock import Lock
from train_tpu.errors import RunFailed, UserError
from train_tpu.monitoring.metrics import read_metrics
from train_tpu.rollback import Rollback
from train_tpu.train import run


@pytest.fixture
def unfinished(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run of 8 steps, checkpoints 4 and 8, that has to be gone on with."""
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    (copy / "weights.safetensors").unlink()
    return copy


def assert_same_weights(workdir: Path, other: Path) -> None:
    found, expected = (load_inference(path, "last").variables for path in (workdir, other))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def largest(folder: Path, item: str) -> Path:
    return max(
        (p for p in (folder / item).rglob("*") if p.parent.name == "d"), key=lambda p: p.stat().st_size
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_every_file_that_is_changed_or_lost_is_named(finished_run: Path, tmp_path: Path) -> None:
    step = finished_run / "checkpoints" / "8"
    assert manifest.damage(step) is None
    names = [p.relative_to(step) for p in step.rglob("*") if p.is_file() and p.name not in manifest.LEFT_OUT]
    assert len(names) > 10
    for name in names:
        for harm, said in ((flip, "another SHA-256"), (cut, "bytes"), (Path.unlink, "is missing")):
            if not (step / name).stat().st_size:
                continue
            copy = Path(shutil.copytree(step, tmp_path / "copy"))
            harm(copy / name)
            reason = manifest.damage(copy)
            assert reason is not None and reason.startswith(str(name)) and said in reason
            shutil.rmtree(copy)


def test_orbax_alone_would_train_on_with_a_flipped_bit(unfinished: Path) -> None:
    """Why there is a manifest: without it the changed numbers are read without a word."""
    step = unfinished / "checkpoints" / "8"
    (step / manifest.NAME).unlink()
    expected = load_inference(step).variables
    (data,) = [p for p in (step / "model" / "d").iterdir() if p.stat().st_size > 1000]
    for at in range(0, data.stat().st_size, data.stat().st_size // 8):
        content = bytearray(data.read_bytes())
        content[at] ^= 1
        data.write_bytes(content)
    try:
        found = load_inference(step).variables
    except UserError:
        return  # this one hit an index
    same = jax.tree.map(np.array_equal, found, expected)
    assert not jax.tree.all(same)


@pytest.mark.parametrize(("item", "harm"), [("model", flip), ("optimizer", cut), ("optimizer", Path.unlink)])
def test_resume_falls_back_to_the_checkpoint_before(
    tiny_config: Any, unfinished: Path, finished_run: Path, capsys: Any, item: str, harm: Any
) -> None:
    harm(largest(unfinished / "checkpoints" / "8", item))
    assert run(tiny_config(), unfinished) == 0
    said = capsys.readouterr().out
    assert f"warning: checkpoint 8 cannot be read ({item}/" in said and "resuming after step 4 of 8" in said
    assert_same_weights(unfinished, finished_run)


def test_a_damaged_manifest_is_a_damaged_checkpoint(tiny_config: Any, unfinished: Path, capsys: Any) -> None:
    (unfinished / "checkpoints" / "8" / manifest.NAME).write_text("{")
    assert run(tiny_config(), unfinished) == 0
    assert "checkpoint 8 cannot be read (manifest.json cannot be read)" in capsys.readouterr().out


def test_inference_refuses_a_flipped_bit_of_the_model_alone(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    flip(largest(copy / "checkpoints" / "8", "optimizer"))
    load_inference(copy, "last")  # which reads no optimizer
    flip(largest(copy / "checkpoints" / "8", "model"))
    with pytest.raises(UserError, match=r"checkpoints/8 is damaged .*another SHA-256"):
        load_inference(copy, "last")


def test_changed_config_is_refused_with_the_difference(tiny_config: Any, unfinished: Path) -> None:
    before = (unfinished / "config.json").read_bytes()
    changed = tiny_config({"schedule.base_lr": 0.5})
    with pytest.raises(UserError, match=r"schedule.base_lr: 0.001 there, 0.5 now.*--allow-config-change"):
        run(changed, unfinished)
    assert (unfinished / "config.json").read_bytes() == before


def test_changed_config_is_taken_when_told(
    tiny_config: Any, unfinished: Path, finished_run: Path, capsys: Any
) -> None:
    before = (unfinished / "config.json").read_bytes()
    shutil.copy(finished_run / "weights.safetensors", unfinished)
    assert run(tiny_config({"schedule.steps": 10, "seed": 3}), unfinished, allow_config_change=True) == 0
    said = capsys.readouterr().out
    assert "config changed: schedule.steps: 8 there, 10 now" in said and "resuming after step 8 of 10" in said
    assert (unfinished / "config.1.json").read_bytes() == before
    kept, new = unfinished / "weights.1.safetensors", unfinished / "weights.safetensors"
    assert kept.read_bytes() == (finished_run / "weights.safetensors").read_bytes() and new.exists()
    assert workdir.read_config(unfinished).schedule.steps == 10
    assert load_inference(unfinished, "last").info["step"] == 10


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "model.overrides",
            {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 16), "stem_channels": 8},
            "has shape",
        ),
        ("ema.horizon", 0.0, "ema/"),
        ("optimizer.name", "sgd", "opt_state"),
    ],
)
def test_state_that_does_not_fit_the_changed_config(
    tiny_config: Any, unfinished: Path, key: str, value: Any, said: str
) -> None:
    """Told or not: orbax would pad, cut or drop arrays. Nothing is renamed, nothing written over."""
    from ml_collections import ConfigDict

    changed = tiny_config({key: ConfigDict(value) if isinstance(value, dict) else value})
    before = {p: p.read_bytes() for p in unfinished.glob("*.json")}
    with pytest.raises(UserError, match=rf"checkpoint .*/8 does not fit this config: .*{said}"):
        run(changed, unfinished, allow_config_change=True)
    assert {p: p.read_bytes() for p in unfinished.glob("*.json")} == before
    assert sorted(p.name for p in (unfinished / "checkpoints").iterdir()) == ["4", "8"]


def test_keys_that_an_older_version_did_not_have(tiny_config: Any, unfinished: Path) -> None:
    """Are no difference while they have their defaults."""
    path = unfinished / "config.json"
    content = json.loads(path.read_text())
    for key in [key for key in content if key.startswith(("mix.", "distill."))]:
        del content[key]
    path.write_text(json.dumps(content))
    assert workdir.claim(unfinished, tiny_config()).changes == []
    with pytest.raises(UserError, match=r"mix.prob: 1.0 there, 0.5 now"):
        workdir.claim(unfinished, tiny_config({"mix.prob": 0.5}))


HOLDER = (
    "import sys; from pathlib import Path; from train_tpu.checkpointing.lock import Lock; "
    "lock = Lock(Path(sys.argv[1])); "
)


def test_two_runs_in_one_workdir(tiny_config: Any, tmp_path: Path) -> None:
    """The second is told whose it is; when the first is killed, nothing stale is left."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER + "print('held', flush=True); input()", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"in use by another run \(process {holder.pid} on .*\)"):
            workdir.claim(tmp_path, tiny_config())
        holder.kill()
    claimed = workdir.claim(tmp_path, tiny_config())
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    claimed.lock.release()


def test_lock_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(UserError, match="cannot write to workdir"):
        Lock(tmp_path)


def test_read_only_workdir(tiny_config: Any, unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before anything is computed. The file system is played: root may write everywhere."""

    def read_only(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        if Path(path).is_relative_to(unfinished) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return original(path, flags, mode, dir_fd=dir_fd)

    original = os.open
    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(UserError, match=rf"^cannot write to workdir {unfinished}: Read-only file system$"):
        run(tiny_config(), unfinished)


def test_full_disk_while_saving(
    tiny_config: Any, tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The run stops with one line, the checkpoint before stays, and the same command goes on after."""

    def full(folder: Path) -> None:
        if Path(folder).name.startswith("8."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(folder)

    original = manifest.write
    monkeypatch.setattr(manifest, "write", full)
    message = (
        "the checkpoint cannot be written: No space left on device; make space.*last good checkpoint: 4$"
    )
    with pytest.raises(RunFailed, match=message):
        run(tiny_config(), tmp_path / "run")
    monkeypatch.setattr(manifest, "write", original)
    assert run(tiny_config(), tmp_path / "run") == 0
    assert "resuming after step 4 of 8" in capsys.readouterr().out
    assert_same_weights(tmp_path / "run", finished_run)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["4", "8"]


# in a process of its own: the limit would hit whatever the other tests write meanwhile
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
from train_tpu.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_file_that_may_not_grow(tmp_path: Path, repository: Path) -> None:
    """The system's limit for one file in place of a disk: what orbax says is one line."""
    recipe = repository / "tests" / "crash" / "recipe.py"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "--config", str(recipe), "--workdir", str(tmp_path / "run")],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == (
        "error: the checkpoint cannot be written: File too large; last good checkpoint: none yet\n"
    )
    assert done.returncode == 1
    assert Checkpoints(tmp_path / "run").last_step is None


def poison(monkeypatch: pytest.MonkeyPatch, labels: set[tuple[int, ...]]) -> None:
    """Make the loss of the batches with these labels not finite."""
    original = assembly.train_step

    def train_step(state: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        state, metrics = original(state, batch, *args, **kwargs)
        bad = jnp.any(jnp.stack([jnp.all(batch["label"] == jnp.array(found)) for found in labels]))
        return state, {**metrics, "loss": jnp.where(bad, jnp.nan, metrics["loss"])}

    monkeypatch.setattr(assembly, "train_step", train_step)


def labels_of_steps(tiny_config: Any) -> list[tuple[int, ...]]:
    """The labels of the first 16 batches of the tiny run."""
    from train_tpu.data import pipeline
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.data.sources import open_dataset

    config = tiny_config()
    dataset = open_dataset(config.data)
    batches = pipeline.train_batches(
        dataset.train, config.data, seed=config.seed, batch_size=16, corrupt=CorruptImages(1, 1.0)
    )
    return [tuple(map(int, next(batches)["label"])) for _ in range(16)]


def test_rolled_back_once_and_exact_on_resume(
    tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Step 6 is bad: back to 4, without the data of steps 5 and 6. Killed then, the same weights come out."""
    poison(monkeypatch, {labels_of_steps(tiny_config)[5]})
    back = Rollback.back

    def and_a_copy(*args: Any) -> Any:
        """What is on disk when it is killed right after the decision."""
        result = back(*args)
        shutil.copytree(tmp_path / "run", tmp_path / "killed")
        return result

    monkeypatch.setattr(Rollback, "back", and_a_copy)
    assert run(tiny_config(), tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "warning: not finite at step 6" in said
    assert "rolled back to step 4; the data of steps 5 to 6 is left out" in said
    rows = [row for row in read_metrics(tmp_path / "run") if row["split"] != "held_out"]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    (note,) = [row for row in rows if row["split"] == "note"]
    assert note["step"] == 5 and "rolled back to step 4" in note["text"]

    assert run(tiny_config(), tmp_path / "killed") == 0
    said = capsys.readouterr().out
    assert "resuming after step 4 of 8" in said and "not finite" not in said
    assert_same_weights(tmp_path / "killed", tmp_path / "run")
    loss = [
        [(row["step"], row.get("loss"), row.get("text")) for row in read_metrics(tmp_path / name)]
        for name in ("run", "killed")
    ]
    assert loss[0] == loss[1]


def test_second_time_stops_the_run(tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labels_of_steps(tiny_config)
    poison(monkeypatch, {labels[5], labels[7]})  # of step 6, and of the step that takes its place
    with pytest.raises(RunFailed, match=r"for the second time \(step 6 was the first\).*checkpoint: 4$"):
        run(tiny_config(), tmp_path / "run")
    with pytest.raises(RunFailed, match="for the second time"):
        run(tiny_config(), tmp_path / "run")
    slower = tiny_config({"schedule.base_lr": 1e-4})  # which may go back once again
    with pytest.raises(RunFailed, match="for the second time"):
        run(slower, tmp_path / "run", allow_config_change=True)
    assert json.loads((tmp_path / "run" / "rollback.1.json").read_text())["bad_step"] == 6
    assert json.loads((tmp_path / "run" / "rollback.json").read_text())["bad_step"] == 6


def test_not_finite_before_the_first_checkpoint(
    tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {labels_of_steps(tiny_config)[1]})
    with pytest.raises(RunFailed, match=r"not finite at step 2.*last good checkpoint: none yet"):
        run(tiny_config(), tmp_path / "run")
