"""The JAX function itself, compiled ahead of time for JAX's default device."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from export.graph import DTYPES
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes.cpu import timed
from export.lab.setting import Setting
from export.lab.subject import Subject


class Xla:
    name = "xla"

    def __init__(self) -> None:
        self.device = "cpu" if jax.default_backend() == "cpu" else "gpu"

    def why_not(self, setting: Setting) -> str | None:
        if self.device == "cpu" and setting.precision != "fp32":
            return f"XLA's CPU back end has no fast {setting.precision}"
        if self.device == "cpu" and setting.threads is not None:
            return "XLA's CPU back end takes all threads of the process"
        return None

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> XlaReady:
        return XlaReady(subject, setting)

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}


class XlaReady:
    clock = "perf_counter"

    def __init__(self, subject: Subject, setting: Setting) -> None:
        images = np.random.default_rng(0).standard_normal((setting.batch, *subject.shape), np.float32)
        dtype = DTYPES[setting.precision]
        self._weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), subject.weights())
        self._images = jnp.asarray(images)
        self._compiled = (
            jax.jit(subject.function(setting.precision)).lower(self._weights, self._images).compile()
        )
        used = self._compiled.memory_analysis()
        self.memory: Mapping[str, int] = {
            "weights": used.argument_size_in_bytes - self._images.nbytes,
            "activations": used.temp_size_in_bytes,
            "code": used.generated_code_size_in_bytes,
        }

    def sample(self, count: int = 1) -> list[Sample]:
        return timed(lambda: self._compiled(self._weights, self._images).block_until_ready(), count)

    def close(self) -> None:
        del self._compiled, self._weights
