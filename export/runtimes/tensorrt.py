"""TensorRT 10.x, 11.x and TensorRT for RTX: from ONNX bytes to a serialized engine.

Networks are always strongly typed: the precision of every layer is what the ONNX file says, in every
version. What differs between versions is asked in `capabilities`.
"""

from __future__ import annotations

import time
from typing import Any

from export._optional import require
from export.runtimes import BuildError, BuildOptions, Built, timing_cache
from export.runtimes import builder as rare
from export.runtimes.builder import BuilderOptions
from export.runtimes.capabilities import capabilities, network_flags
from export.runtimes.kernels import read_kernels

#: How much of the builder's own words an error quotes.
_QUOTED_MESSAGES = 4


def recording_logger(trt: Any) -> Any:
    """A logger of `trt` that keeps every message, verbose ones too, in `.lines` as (severity, text)."""

    class Recorder(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[int, str]] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines.append((int(severity), message))

        def at(self, severity: Any) -> list[str]:
            """Messages of this severity or worse."""
            return [text for level, text in self.lines if level <= int(severity)]

    return Recorder()


class TensorRT:
    """The runtime behind `--runtime tensorrt` and `--runtime tensorrt_rtx`.

    Args:
      name: how the user calls it.
      module: the Python module, or its name; a test passes a fake.
    """

    builds_engine = True
    on_gpu = True
    deploys = "model.engine"

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self.trt = require(module) if isinstance(module, str) else module
        self.can = capabilities(self.trt)

    def versions(self) -> dict[str, str]:
        return {self.name: str(getattr(self.trt, "__version__", "unknown"))}

    def why_not_build(self) -> str | None:
        return None if self.can.builds_without_gpu else self.why_not_run()

    def why_not_run(self) -> str | None:
        from export.runtimes import cuda

        return cuda.why_no_gpu()

    def refuses(self, options: BuilderOptions) -> str | None:
        reason = rare.refusal(self.name, options, self.can)
        if reason is not None or not (options.refit or options.strip_weights):
            return reason
        no_gpu = self.why_not_run() if self.can.builds_without_gpu else None
        flag = "--refit" if options.refit else "--strip-weights"
        return f"{flag} needs a GPU to build with {self.name}: {no_gpu}" if no_gpu else None

    def build(self, model: bytes, options: BuildOptions) -> Built:
        reason = self.refuses(options.builder)
        if reason is not None:
            raise BuildError(reason)
        trt, log = self.trt, recording_logger(self.trt)
        start = time.perf_counter()
        builder = trt.Builder(log)
        network = builder.create_network(network_flags(trt, self.can))
        self._parse(network, model, log)
        config = self._configure(builder, network, options)
        try:
            told: dict[str, Any] = {"builder_flags": list(rare.configure(trt, config, options.builder))}
        except ValueError as error:
            raise BuildError(f"{self.name}: {error}") from error
        wanted = options.builder.timing_cache
        cache = None if wanted is None else timing_cache.attach(config, wanted)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise BuildError(f"{self.name} could not build the engine: {_quote(log.at(trt.ILogger.ERROR))}")
        notices: tuple[str, ...] = ()
        if cache is not None:
            told["timing_cache"], notices = cache.finish()
        return Built(
            runtime=self.name,
            model=model,
            engine=bytes(engine),
            seconds=time.perf_counter() - start,
            kernels=read_kernels(text for _, text in log.lines) or None,
            layers_parsed=network.num_layers,
            warnings=tuple(log.at(trt.ILogger.WARNING)),
            options=told,
            notices=notices,
        )

    def open(self, built: Built, *, cuda_graph: bool = False) -> Any:
        """Loads the engine on the GPU. Raises `BuildError` where there is none or it is refused."""
        from export.runtimes.engine import EngineSession

        if built.engine is None:
            raise BuildError("nothing to open: this build has no engine")
        return EngineSession(
            self.trt,
            built.engine,
            cuda_graph=cuda_graph,
            weights=built.model if built.stripped else None,
            host_code=built.host_code,
        )

    def _parse(self, network: Any, model: bytes, log: Any) -> None:
        parser = self.trt.OnnxParser(network, log)
        if not parser.parse(model):
            errors = [_parse_error(parser.get_error(index)) for index in range(parser.num_errors)]
            raise BuildError(f"{self.name} does not read the file: {_quote(errors)}")
        if network.num_inputs != 1:
            raise BuildError(f"{self.name}: the file has {network.num_inputs} inputs, one was expected")

    def _configure(self, builder: Any, network: Any, options: BuildOptions) -> Any:
        trt = self.trt
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if self.can.tf32_flag and not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 would not mean float32
        if options.targets:
            self._set_targets(config, options.targets)
        self._add_profile(builder, network, config, options)
        return config

    def _set_targets(self, config: Any, targets: tuple[str, ...]) -> None:
        if not self.can.compute_capability_targets:
            raise BuildError(
                f"{self.name} builds for the GPU at hand; targets ({', '.join(targets)}) are a feature of "
                "tensorrt_rtx"
            )
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            known = getattr(self.trt.ComputeCapability, target, None)
            if known is None:
                names = sorted(n for n in dir(self.trt.ComputeCapability) if n.startswith("SM"))
                raise BuildError(f"{self.name} knows no target {target}; it knows {', '.join(names)}")
            config.set_compute_capability(known, index)

    def _add_profile(self, builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
        """A dynamic batch needs its range said; any other dynamic dimension is a mistake of the file."""
        tensor = network.get_input(0)
        shape, batch = tuple(tensor.shape), options.batch
        if -1 in shape[1:]:
            raise BuildError(f"input {tensor.name} has shape {shape}: only the batch may be dynamic")
        if shape[0] != -1:
            if batch.dynamic or shape[0] != batch.typical:
                raise BuildError(f"input {tensor.name} has batch {shape[0]}, but batch {batch} was asked for")
            return
        profile = builder.create_optimization_profile()
        sizes = (batch.minimum, batch.typical, batch.maximum)
        profile.set_shape(tensor.name, *((size, *shape[1:]) for size in sizes))
        config.add_optimization_profile(profile)


def _parse_error(error: Any) -> str:
    """A parser error in words: which node, which operator, what is wrong with it."""
    node, operator = error.node_name(), error.node_operator()
    what = error.desc().strip()
    if "Plugin not found" in what:
        what = "this operator is not known to it"
    place = f"node {node or error.node()} ({operator}): " if operator else ""
    return place + what


def _quote(messages: list[str]) -> str:
    if not messages:
        return "it gave no reason"
    shown = [" ".join(text.split()) for text in messages[:_QUOTED_MESSAGES]]
    more = len(messages) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
