"""The command as a user types it: a process of its own, in a directory of the user's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from train_tpu import main as main_module
from train_tpu.checkpointing.checkpoint import load_inference

TINY = [
    "--config.model.overrides={'depths': (1, 1, 1, 1), 'widths': (4, 4, 8, 8), 'stem_channels': 8}",
    "--config.data.image_size=16",
    "--config.data.batch_size=16",
    "--config.log_every=1",
    "--config.eval_every=100000",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's directory with folders that are called like packages of ours and must not be imported."""
    for name in ("configs", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the decoy was imported')")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "train_tpu.main", *arguments]


def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository), "PYTHONUNBUFFERED": "1"}


def test_mistake_is_one_line_and_exit_status_2(project: Path, repository: Path) -> None:
    done = subprocess.run(
        command("--config", "configs/resnet50.py", "--config.optimizer.wait_decay=0.1"),
        cwd=project,
        env=environment(repository),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --config.optimizer.wait_decay: the config has no such key; "
        "did you mean optimizer.weight_decay?"
    ]


def test_sigterm_saves_and_the_same_command_goes_on(project: Path, repository: Path) -> None:
    """Preempted in the middle, beside decoy packages: exit status 143, a checkpoint, and a resume from it."""
    arguments = command("--config", "configs/resnet50.py", *TINY, "--config.schedule.steps=100000")
    for attempt in ("first", "second"):
        said = []
        with subprocess.Popen(
            arguments, cwd=project, env=environment(repository), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if " loss " in line:  # a step is done
                    process.send_signal(signal.SIGTERM)
                    break
            said += process.stdout.readlines()
        assert process.returncode == 143, said
        text = "".join(said)
        assert "SIGTERM: saving step" in text and "the same command goes on from there" in text
        assert f"using the installed {repository / 'configs' / 'resnet50.py'}" in text
        assert ("resuming after step" in text) == (attempt == "second")
        step = load_inference(project / "runs" / "resnet50", "last").info["step"]
        assert f"saved step {step} of 100000" in text


@pytest.mark.parametrize(
    ("module", "package"), [("train_tpu.main", "ml_collections"), ("train_tpu.evaluate", "grain")]
)
def test_missing_extra_names_the_line_that_installs_it(repository: Path, module: str, package: str) -> None:
    """Installed without the extra `train`: None in sys.modules makes a package impossible to import."""
    program = (
        f"import sys; sys.modules[{package!r}] = None; from {module} import main; "
        "sys.exit(main(['--ckpt', 'nowhere']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(repository), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: training needs the package {package}, which is not installed: pip install 'hvjax[train]'\n"
    )


def test_interrupt_outside_of_the_steps(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", interrupted)
    assert main_module.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_several_hosts_need_all_three_variables(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    assert main_module.main(["--config", "configs/resnet50.py"]) == 2
    assert "several hosts need all of JAX_COORDINATOR_ADDRESS" in capsys.readouterr().err
