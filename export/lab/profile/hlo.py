"""Reading the text of a compiled XLA program: instructions, what is fused in them, and where they come
from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from export.lab.profile.kinds import (
    HEAVY,
    MOVEMENT,
    NORM,
    OF_HLO,
    OTHER,
    SILENT,
    SOFTMAX,
    heaviest,
    of_call,
)
from export.lab.profile.modules import common, owner
from export.module_path import module_of

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
#: A type ends before the opcode: "f32[1,2]{1,0} fusion(" or "(f32[1], s32[]) tuple(".
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(")
_CALLS = re.compile(r"\b(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_OP_NAME = re.compile(r'metadata=\{[^}]*?op_name="([^"]*)"')
_FRAME = re.compile(r"\bstack_frame_id=(\d+)")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
#: Functions of hvjax and Flax that normalise.
_NORM_FUNCTION = re.compile(r"(layer|group|batch)_?norm", re.IGNORECASE)
#: What a softmax does on one source line, in words of JAX; nothing else does both.
_SOFTMAX_STEPS = frozenset({"reduce_max", "exp"})
#: What holds other instructions that run by themselves: their own time is that of these.
CONTAINERS = frozenset({"call", "while", "conditional"})


@dataclass(frozen=True)
class Instruction:
    name: str
    opcode: str
    op_name: str  # where JAX traced it: "jit(f)/NextViT/stage1/block1/conv/conv_general_dilated"
    frame: int  # its source line in the table of frames; 0 if none is told
    called: tuple[str, ...] = ()  # computations
    target: str = ""  # of a call of a library
    operands: tuple[str, ...] = ()

    @property
    def primitive(self) -> str:
        return self.op_name.rsplit("/", 1)[-1]


@dataclass
class Program:
    """A compiled program.

    Args:
      roots: the first parts of the weights' paths, which tell a module's path from what stands before it.
    """

    text: str
    roots: frozenset[str]
    computations: dict[str, list[Instruction]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        held: list[Instruction] = []
        for line in self.text.splitlines():
            if (head := _COMPUTATION.match(line)) is not None:
                held = self.computations.setdefault(head[1], [])
            elif (found := _instruction(line)) is not None:
                held.append(found)
        self.instructions = {one.name: one for held in self.computations.values() for one in held}
        self._readers: dict[str, list[str]] = {}
        for one in self.instructions.values():
            for name in one.operands:
                self._readers.setdefault(name, []).append(one.name)
        self._functions = _functions(self.text)
        primitives: dict[int, set[str]] = {}
        for one in self.instructions.values():
            primitives.setdefault(one.frame, set()).add(one.primitive)
        self._softmax = {frame for frame, names in primitives.items() if frame and names >= _SOFTMAX_STEPS}

    def kind(self, name: str) -> str:
        """Kind of instruction `name`, or of what is fused in it."""
        one = self.instructions[name]
        return heaviest(self._kind(part) for part in self._parts(one))

    def module(self, name: str) -> str | None:
        """Path of the module that the instruction belongs to. Where the compiler lost what JAX told of its
        origin: the module that holds all before and after it. None if they are unknown too."""
        own = self._own_module(name)
        return self._between(name) if own is None else own

    def heavy(self, name: str) -> tuple[str, ...]:
        """Modules of the convolutions and products that are fused in it."""
        parts = self._parts(self.instructions[name])
        found = (self._path(one.op_name) for one in parts if self._kind(one) in HEAVY and "/" in one.op_name)
        return tuple(dict.fromkeys(found))

    def _own_module(self, name: str) -> str | None:
        one = self.instructions[name]
        parts = [
            (self._path(part.op_name), self._kind(part)) for part in self._parts(one) if "/" in part.op_name
        ]
        if not parts and "/" in one.op_name:
            parts = [(self._path(one.op_name), self.kind(name))]
        moving = [part for part in parts if part[1] != MOVEMENT]
        return owner(moving or parts)

    def _between(self, name: str) -> str | None:
        """Of the nearest ones in both directions whose module is known."""
        found = [*self._nearest(name, lambda one: self.instructions[one].operands)]
        found += self._nearest(name, lambda one: self._readers.get(one, ()))
        return common(found) if found else None

    def _nearest(self, name: str, near: Callable[[str], Sequence[str]]) -> Iterator[str]:
        wait, seen = [*near(name)], {name}
        while wait:
            here = wait.pop()
            if here in seen or here not in self.instructions:
                continue
            seen.add(here)
            module = self._own_module(here)
            if module is not None:
                yield module
            else:
                wait += near(here)

    def is_container(self, name: str) -> bool:
        return self.instructions[name].opcode in CONTAINERS

    def _parts(self, one: Instruction) -> list[Instruction]:
        """What an instruction computes: itself, or what is fused in it."""
        if one.opcode != "fusion":
            return [one]
        inner = [part for name in one.called for part in self._inside(name)]
        return [part for part in inner if part.opcode not in SILENT] or [one]

    def _inside(self, computation: str) -> Iterator[Instruction]:
        for one in self.computations.get(computation, ()):
            if one.opcode == "fusion":
                yield from (part for name in one.called for part in self._inside(name))
            else:
                yield one

    def _kind(self, one: Instruction) -> str:
        known = of_call(one.target) if one.opcode == "custom-call" else OF_HLO.get(one.opcode, OTHER)
        if known == MOVEMENT or known in HEAVY:
            return known
        if one.frame in self._softmax:
            return SOFTMAX
        return NORM if any(map(_NORM_FUNCTION.search, self._functions.get(one.frame, ()))) else known

    def _path(self, op_name: str) -> str:
        """As the exporter names the nodes of a file: module_of knows what are methods."""
        parts = [
            part for part in op_name.split("/") if not re.fullmatch(r"\w+\(.*\)", part) and "->" not in part
        ]
        start = next((i for i, part in enumerate(parts) if part.partition(".")[0] in self.roots), None)
        return "" if start is None else module_of("/".join([*parts[start:-1], "op"]))


def _instruction(line: str) -> Instruction | None:
    found = _INSTRUCTION.match(line)
    if found is None:
        return None
    name, rest = found[1], found[2]
    rest = re.sub(r"/\*.*?\*/", "", rest)  # "/*index=5*/" between operands
    opcode = _OPCODE.search(rest)
    if opcode is None:
        return None
    op_name, frame, target = _OP_NAME.search(rest), _FRAME.search(rest), _TARGET.search(rest)
    branches = _BRANCHES.search(rest)
    called = _CALLS.findall(rest) + (re.findall(r"%?([\w.\-]+)", branches[1]) if branches else [])
    return Instruction(
        name,
        opcode[1],
        op_name[1] if op_name else "",
        int(frame[1]) if frame else 0,
        tuple(called),
        target[1] if target else "",
        tuple(re.findall(r"%([\w.\-]+)", rest[opcode.end() : rest.find(")", opcode.end())])),
    )


def _functions(text: str) -> dict[int, tuple[str, ...]]:
    """Frame -> names of the functions on its stack, from the tables at the head of the text."""
    names = {int(i): name for i, name in re.findall(r'^(\d+) "(.*)"$', _section(text, "FunctionNames"), re.M)}
    places = {
        int(i): names.get(int(function), "")
        for i, function in re.findall(
            r"^(\d+) \{.*?function_name_id=(\d+)", _section(text, "FileLocations"), re.M
        )
    }
    rows = re.findall(
        r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?", _section(text, "StackFrames"), re.M
    )
    # A row's parent is written as one more than its number, so that 1 (and nothing) is "none".
    frames = {int(i): (places.get(int(place), ""), int(parent or 0)) for i, place, parent in rows}
    found: dict[int, tuple[str, ...]] = {}
    for frame in frames:
        stack, here, seen = [], frame, set()
        while here in frames and here not in seen:
            seen.add(here)
            name, parent = frames[here]
            stack.append(name)
            here = parent - 1
        found[frame] = tuple(stack)
    return found


def _section(text: str, title: str) -> str:
    found = re.search(rf"^{title}\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)
    return found[1] if found else ""
