"""Compiled programs kept on disk, so that a run which resumes does not compile again."""

import os
from pathlib import Path

import jax

from train_tpu.errors import UserError

FOLDER = "compiled"  # of a workdir
VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # JAX's own


def use(choice: str, workdir: Path) -> None:
    """Have JAX keep what it compiles from now on.

    Args:
      choice: config.compile_cache. "auto": in WORKDIR/compiled, but not on CPUs, where a program is made for
        the very processor and machines of a cluster differ; "off"; or a directory, on CPUs too.
      workdir: of the run; it must exist.
    JAX's own variable JAX_COMPILATION_CACHE_DIR wins over "auto".

    Raises:
      UserError: the directory cannot be made, or has no name.
    """
    if not choice:  # as a path it would be the current directory
        raise UserError("--config.compile_cache is empty; accepted are auto, off or a directory")
    if choice == "off" or (choice == "auto" and (os.environ.get(VARIABLE) or jax.default_backend() == "cpu")):
        return
    folder = workdir / FOLDER if choice == "auto" else Path(choice).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--config.compile_cache={choice}: {error.strerror}") from error
    jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
