"""Runs timm's networks for `process.Worker`; needs torch and timm only, not hvjax. Not imported: a program.

    {"do": "about"} -> versions, "device" ("cpu" or "gpu") and, if it can export, "exports": true
    {"do": "prepare", "model", "shape": [h, w, c], "batch", "precision", "threads", "fuse", "compile",
     "cuda_graph", "transfers"} -> {"clock", "memory"}
    {"do": "write", "model", "shape", "batch", "precision", "fuse", "file"} -> {}: writes an ONNX file
    {"do": "sample", "count"} -> [[milliseconds, whether the system took a processor away], ...]
    {"do": "reopen"} -> {}: the network in other memory

The network has random weights, in such ranges that activations neither grow nor fade: numbers that are too
small for the normal format would slow a CPU down. `fuse` is timm's own reparameterisation, where it has
one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import resource
import sys
import time
import warnings

OPSET = 20
#: torchvision, which timm imports, declares gradients of operators that some builds of it do not have.
OPERATORS = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
#: Threads of OpenMP spin for some milliseconds after their work is done. They sleep when the process takes
#: less than this share of a processor; after so many looks it is given up (something else of it works).
ASLEEP_SHARE, LOOK_SECONDS, LOOKS = 0.2, 0.003, 50


def import_timm(torch):
    try:
        return importlib.import_module("timm")
    except (RuntimeError, AttributeError):
        library = torch.library.Library("torchvision", "DEF")
        for name in (*OPERATORS, *(f"_{name}_backward" for name in OPERATORS)):
            with contextlib.suppress(RuntimeError):
                library.define(name + "(Tensor input) -> Tensor")
        for module in [m for m in sys.modules if m.split(".")[0] in ("timm", "torchvision")]:
            del sys.modules[module]
        globals()["_held"] = library  # the declarations live as long as this object
        return importlib.import_module("timm")


class Program:
    def __init__(self):
        self.torch = importlib.import_module("torch")
        self.timm = import_timm(self.torch)
        self.gpu = self.torch.cuda.is_available()
        self.device = "cuda" if self.gpu else "cpu"

    def about(self):
        found = {"torch": self.torch.__version__.split("+")[0], "timm": self.timm.__version__}
        exports = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript"))
        return {"versions": found, "device": "gpu" if self.gpu else "cpu", "exports": exports}

    def prepare(self, model, shape, batch, precision, threads, fuse, compile, cuda_graph, transfers):
        torch = self.torch
        torch.set_num_threads(threads or cpus())
        if self.gpu:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.benchmark = True  # one shape only: the fastest kernels are found once
            torch.zeros(1, device=self.device)  # the context is not the network's
        before = self.in_use()
        self.network = self.create(model, shape, precision, fuse).to(self.device)
        self.transfers = transfers
        images = torch.randn(batch, shape[2], *shape[:2], generator=torch.Generator().manual_seed(0))
        if self.gpu:
            self.network = self.network.to(memory_format=torch.channels_last)
            images = images.contiguous(memory_format=torch.channels_last)
            images = images.pin_memory() if transfers else images.to(self.device)
        self.images = images
        tensors = [*self.network.parameters(), *self.network.buffers()]
        memory = {"weights": sum(t.numel() * t.element_size() for t in tensors)}
        memory.update(growth("loaded", before, self.in_use()))
        self.run = self.network
        if compile:
            self.run = torch.compile(self.network, mode="reduce-overhead" if cuda_graph else None)
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        for _ in range(3):  # a CUDA graph is recorded by the second call
            self.call()
        if self.gpu:
            memory["activations"] = torch.cuda.max_memory_allocated() - held
        memory.update(growth("running", before, self.in_use()))
        self.sleep()
        return {"clock": "CUDA events" if self.gpu else "perf_counter", "memory": memory}

    def write(self, model, shape, batch, precision, fuse, file):
        torch = self.torch
        from_timm = importlib.import_module("timm.layers")
        from_timm.set_fused_attn(False)  # the fused operator exports to more nodes and no fewer kernels
        network = self.create(model, shape, precision, fuse)
        images = torch.zeros(batch, shape[2], *shape[:2])
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (images,), file, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
        return {}

    def sample(self, count):
        found = []
        for _ in range(count):
            before = taken_away()
            found.append([self.call(), taken_away() > before])
        self.sleep()
        return found

    def reopen(self):
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = tensor.data.clone()
        self.images = self.images.clone().pin_memory() if self.gpu and self.transfers else self.images.clone()
        return {}

    def call(self):
        """Milliseconds of one call."""
        torch = self.torch
        with torch.inference_mode():
            if not self.gpu:
                start = time.perf_counter()
                self.run(self.images)
                return 1e3 * (time.perf_counter() - start)
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            if self.transfers:
                self.run(self.images.to(self.device, non_blocking=True)).to("cpu", non_blocking=True)
            else:
                self.run(self.images)
            after.record()
            after.synchronize()
            return before.elapsed_time(after)

    def create(self, name, shape, precision, fuse):
        """timm's network as a module from float32 images to float32 logits."""
        torch = self.torch
        network = self.named(name, shape)
        settle(torch, network, shape)
        if fuse:
            network = importlib.import_module("timm.utils.model").reparameterize_model(network)
        network.eval()
        if precision == "fp32":
            return network
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]

        class Typed(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = network.to(dtype)

            def forward(self, images):
                return self.inner(images.to(dtype)).float()

        return Typed().eval()

    def named(self, name, shape):
        """Networks whose tables depend on the size of the image are told it; others do not know the
        argument."""
        create = self.timm.create_model
        size = tuple(shape[:2])
        expected = tuple(self.timm.get_pretrained_cfg(name).input_size[1:])
        if size == expected:
            return create(name, pretrained=False)
        try:
            return create(name, pretrained=False, img_size=size)
        except TypeError:
            return create(name, pretrained=False)

    def in_use(self):
        if self.gpu:
            free, total = self.torch.cuda.mem_get_info()
            return total - free
        gc.collect()
        try:
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return None

    def sleep(self):
        """Waits until the threads of this process do nothing."""
        if self.gpu:
            return
        for _ in range(LOOKS):
            before = time.process_time()
            time.sleep(LOOK_SECONDS)
            if time.process_time() - before < ASLEEP_SHARE * LOOK_SECONDS:
                return


def settle(torch, network, shape):
    """No tensor is all zeros or ones (an exporter would leave operations out), and batch norms know what
    reaches them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
            if tensor.ndim > 1 and float(tensor.std()) > 0:
                continue  # kernels are drawn by timm
            centred = tensor.ndim > 1 or name.endswith(("bias", "running_mean"))
            tensor.copy_(0.1 * noise if centred else 1 + 0.25 * noise)
        norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        if norms:
            network(torch.randn(2, shape[2], *shape[:2], generator=generator))
        network.eval()


def growth(name, before, after):
    return {} if before is None or after is None else {name: max(0, after - before)}


def cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def taken_away():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print; the answers stay clean
    program = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            program = program or Program()
            answer = {"ok": getattr(program, question.pop("do"))(**question)}
        except Exception as error:
            words = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {words[0] if words else 'no message'}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
