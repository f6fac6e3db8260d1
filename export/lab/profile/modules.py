"""Modules: which one a fused operation belongs to, and the tree of all with its times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from export.lab.profile.kinds import HEAVY
from export.lab.profile.op import Op

#: The branch of what belongs to no module.
UNATTRIBUTED = "(unattributed)"


def common(modules: Iterable[str]) -> str:
    """The module that holds all these: "stage1/block1" for "stage1/block1/mlp/fc1" and
    "stage1/block1/norm"."""
    paths = [module.split("/") if module else [] for module in modules]
    kept: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        kept.append(parts[0])
    return "/".join(kept)


def owner(parts: Iterable[tuple[str, str]]) -> str | None:
    """The module that a fused operation belongs to, of the (module, kind) of all that it computes: the one
    that holds all of its convolutions and products, as they take the time; without any, the one that holds
    everything. None of nothing."""
    parts = list(parts)
    if not parts:
        return None
    heavy = [module for module, kind in parts if kind in HEAVY]
    return common(heavy or [module for module, _ in parts])


@dataclass
class Module:
    """A module with all below it.

    Attributes:
      path: "" is the network.
      own: operations that are in no module below.
      parts: modules below, by the last part of their path, in the order of the runtime.
    """

    path: str
    own: list[Op] = field(default_factory=list)
    parts: dict[str, Module] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def ms(self) -> float:
        return sum(op.ms for op in self.ops())

    @property
    def depth(self) -> int:
        """Levels below."""
        return max((1 + part.depth for part in self.parts.values()), default=0)

    def ops(self) -> Iterator[Op]:
        yield from self.own
        for part in self.parts.values():
            yield from part.ops()

    def walk(self) -> Iterator[Module]:
        """This one and all below, each before its parts."""
        yield self
        for part in self.parts.values():
            yield from part.walk()

    def types(self) -> Counter[str]:
        return Counter(op.type for op in self.ops())


def tree(ops: Iterable[Op], depth: int | None = None) -> Module:
    """The modules of `ops`, in the order in which they run: that of the middle of their time, as a compiler
    may move a part of a module to the beginning. `depth`: levels to keep; what is deeper counts for the last
    one."""
    root = Module("")
    middle: dict[str, tuple[float, float]] = {}
    for place, op in enumerate(ops):
        here = root
        path = UNATTRIBUTED if op.module is None else op.module
        for part in path.split("/")[:depth] if path else ():
            inner = f"{here.path}/{part}" if here.path else part
            here = here.parts.setdefault(part, Module(inner))
            weight, moment = middle.get(inner, (0.0, 0.0))
            middle[inner] = (weight + op.ms, moment + op.ms * place)
        here.own.append(op)
    for module in root.walk():
        module.parts = dict(sorted(module.parts.items(), key=lambda part: _moment(middle[part[1].path])))
    return root


def _moment(middle: tuple[float, float]) -> float:
    weight, moment = middle
    return moment / weight if weight else 0.0
