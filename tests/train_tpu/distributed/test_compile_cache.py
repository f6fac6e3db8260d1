"""Where compiled programs are kept."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from train_tpu.distributed import compile_cache
from train_tpu.errors import UserError

OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_directory_is_filled_after_the_first_compilation(tmp_path: Path) -> None:
    """JAX has long compiled something when a run knows its workdir."""
    jax.jit(lambda x: x + 1)(1.0)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compile_cache.use(str(tmp_path / "cache"), tmp_path)
    jax.jit(lambda x: jnp.sin(x) * 3)(1.0)
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_cpus_keep_nothing_unless_told(tmp_path: Path, choice: str) -> None:
    before = jax.config.jax_compilation_cache_dir
    compile_cache.use(choice, tmp_path)
    assert jax.config.jax_compilation_cache_dir == before and not any(tmp_path.iterdir())


def test_accelerators_keep_it_in_the_workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compile_cache.use("auto", tmp_path)
    assert jax.config.jax_compilation_cache_dir == str((tmp_path / "compiled").resolve())


def test_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv(compile_cache.VARIABLE, "/elsewhere")
    before = jax.config.jax_compilation_cache_dir
    compile_cache.use("auto", tmp_path)
    assert jax.config.jax_compilation_cache_dir == before


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--config.compile_cache=.*file/cache: Not a directory"):
        compile_cache.use(str(tmp_path / "file" / "cache"), tmp_path)


def test_no_name_is_no_directory(tmp_path: Path) -> None:
    """An empty path would have been the current directory."""
    with pytest.raises(UserError, match="accepted are auto, off or a directory"):
        compile_cache.use("", tmp_path)
