"""Float32 islands: a half-precision graph in which chosen nodes stay float32, with Casts at the borders.

A module is named by its Flax path, `stage3/block2/mlp`, and means every node of it and of its submodules;
`stage3/block2/.` means only the module's own operations (its residual sums), not those of its submodules.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.module_path import module_of

NARROW: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
#: Ends the name of a module's own operations.
OWN = "."
#: A float32 weight is the source of a half-precision one if they agree to this share of the largest value:
#: rounding to 8 significant bits costs 4e-3 at most, another tensor of the same shape far more.
SAME_WEIGHT = 0.01
#: Below its smallest normal number float16 has few bits, or none.
VANISHING = float(np.finfo(np.float16).smallest_normal)


class NoSuchModule(ValueError):
    """A name that the graph has no module of."""


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor whose type the file records: values, inputs, outputs, initializers."""
    graph = model.graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    found = {info.name: info.type.tensor_type.elem_type for info in infos}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def half_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Nodes that read or write half precision -> their module, in the order of the graph."""
    types = element_types(model)
    return {
        node.name: module_of(node.name)
        for node in model.graph.node
        if any(types.get(name) in NARROW for name in (*node.input, *node.output))
    }


def select(model: onnx.ModelProto, names: Iterable[str]) -> set[str]:
    """The nodes of the named modules.

    Raises NoSuchModule for a name that matches no node of the graph; it says what is near.
    """
    owners = {node.name: module_of(node.name) for node in model.graph.node}
    found: set[str] = set()
    for name in names:
        nodes = {node for node, owner in owners.items() if covers(name, owner)}
        if not nodes:
            raise NoSuchModule(f"no module {name!r} in the graph{_near(name, owners.values())}")
        found |= nodes
    return found


def covers(name: str, owner: str) -> bool:
    """Whether the module called `name` holds a node whose own module is `owner`."""
    if name == OWN or name.endswith("/" + OWN):
        return owner == name[: -len(OWN)].rstrip("/")
    return owner == name or owner.startswith(name + "/")


def names_of(nodes: Collection[str], owners: Mapping[str, str]) -> list[str]:
    """The fewest module names that hold exactly the modules of `nodes`.

    Args:
      nodes: all nodes of some modules.
      owners: every node that counts -> its module.
    """
    wanted = {owners[node] for node in nodes if node in owners}
    left = set(owners.values()) - wanted
    names: list[str] = []
    for owner in dict.fromkeys(owner for owner in owners.values() if owner in wanted):
        whole = [path for path in (*_parents(owner), owner) if not any(covers(path, other) for other in left)]
        # a lone module in its parent keeps its own, more telling name
        name = next((path for path in whole if _count(path, wanted) > 1), owner if whole else "")
        name = name or (f"{owner}/{OWN}" if owner else OWN)
        if name not in names:
            names.append(name)
    return names


def keep_float32(
    model: onnx.ModelProto, nodes: Collection[str], weights: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """A copy of `model` in which `nodes` compute in float32; half-precision tensors that cross the border
    are cast once each.

    Args:
      nodes: names of nodes; those that have nothing to do with half precision are left as they are.
      weights: float32 values by initializer, from the float32 export; a weight that is not in it, or not
        the same there, is widened from its half-precision value.
    """
    return widened(model, nodes, weights or {})[0]


def widened(
    model: onnx.ModelProto,
    nodes: Collection[str],
    weights: Mapping[str, np.ndarray],
    *,
    drop_casts: bool = True,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """`keep_float32`, and which tensors went away with a Cast that has nothing to do any more: name of the
    tensor -> the one that holds its value. `drop_casts=False` leaves such Casts in place."""
    rewrite = _Rewrite(model, frozenset(nodes), weights, drop_casts)
    return rewrite.run(), rewrite.aliases


class _Rewrite:
    """One pass over the nodes; `wide` holds the formerly narrow tensors that are float32 now."""

    def __init__(
        self,
        model: onnx.ModelProto,
        nodes: frozenset[str],
        weights: Mapping[str, np.ndarray],
        drop_casts: bool,
    ) -> None:
        self.model, self.chosen, self.weights, self.drop_casts = model, nodes, weights, drop_casts
        self.types = element_types(model)
        self.held = {tensor.name: tensor for tensor in model.graph.initializer}
        self.borders = {info.name for info in (*model.graph.input, *model.graph.output)}
        self.wide: set[str] = set()
        self.aliases: dict[str, str] = {}
        self.made: dict[tuple[str, int], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.infos: dict[str, onnx.ValueInfoProto] = {}

    def run(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            self._add(node)
        used = {name for node in self.nodes for name in node.input}
        result = onnx.ModelProto()
        for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version"):
            setattr(result, field, getattr(self.model, field))
        result.opset_import.extend(self.model.opset_import)
        result.metadata_props.extend(self.model.metadata_props)
        graph, old = result.graph, self.model.graph
        graph.name = old.name
        graph.input.extend(old.input)
        graph.output.extend(old.output)
        graph.node.extend(self.nodes)
        for tensor in old.initializer:
            if tensor.name in used:
                graph.initializer.append(tensor)
        graph.initializer.extend(self.initializers.values())
        computed = {name for node in self.nodes for name in node.output} - self.borders
        for info in old.value_info:
            if info.name in computed:
                graph.value_info.append(_retyped(info, info.name) if info.name in self.wide else info)
        graph.value_info.extend(info for name, info in self.infos.items() if name in computed)
        return result

    def _add(self, node: onnx.NodeProto) -> None:
        inside = node.name in self.chosen
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        narrow_out = [name for name in node.output if self.types.get(name) in NARROW]
        if node.op_type == "Cast" and self._dissolves(node, inside):
            source = self._source(node.input[0])
            if node.output[0] not in self.borders:
                self.aliases[node.output[0]] = source
                self.wide.update(narrow_out)
                return
            if source not in self.borders:
                self._rename(source, node.output[0])
                return
        for index, name in enumerate(node.input):
            copy.input[index] = self._input(name, inside, node)
        if inside and narrow_out:
            self._widen_attributes(copy)
            for name in narrow_out:
                if name in self.borders:
                    raise ValueError(
                        f"output {name} of the graph is {NARROW[self.types[name]]}: no island there"
                    )
                self.wide.add(name)
        self.nodes.append(copy)

    def _dissolves(self, node: onnx.NodeProto, inside: bool) -> bool:
        """A Cast between float32 and half precision both of whose ends are float32 now."""
        if not self.drop_casts:
            return False
        source, target = self.types.get(node.input[0]), self.types.get(node.output[0])
        source_wide = source == TensorProto.FLOAT or node.input[0] in self.wide
        if source in NARROW and target == TensorProto.FLOAT:
            return source_wide
        return inside and source == TensorProto.FLOAT and target in NARROW

    def _rename(self, old: str, new: str) -> None:
        """`old`, computed by a node added before, is the graph's output `new` itself."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        self.aliases = {name: new if source == old else source for name, source in self.aliases.items()}
        self.aliases[old] = new

    def _source(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _input(self, name: str, inside: bool, node: onnx.NodeProto) -> str:
        kind = self.types.get(name, TensorProto.UNDEFINED)
        if kind not in NARROW:
            return self._source(name)
        if inside:
            if name in self.wide:
                return self._source(name)
            return self._weight(name) if name in self.held else self._cast(name, TensorProto.FLOAT, node)
        return self._cast(self._source(name), kind, node) if name in self.wide else name

    def _weight(self, name: str) -> str:
        wide = f"{name}/float32"
        if wide not in self.initializers:
            values = np.asarray(numpy_helper.to_array(self.held[name]), np.float32)
            source = self.weights.get(name)
            if source is not None and _same(source, values):
                values = np.asarray(source, np.float32)
            values = np.ascontiguousarray(values)
            self.initializers[wide] = helper.make_tensor(
                wide, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True
            )
        return wide

    def _cast(self, name: str, to: int, node: onnx.NodeProto) -> str:
        if (name, to) not in self.made:
            result = f"{name}/{NARROW.get(to, 'float32')}"
            owner = node.name.rpartition("/")[0]
            label = f"{owner}/Cast({result})" if owner else f"Cast({result})"
            self.nodes.append(helper.make_node("Cast", [name], [result], label, to=to))
            graph = self.model.graph
            for info in (*graph.value_info, *graph.input, *graph.output):  # what is answered may be read, too
                if info.name == name:
                    self.infos[result] = _retyped(info, result, to)
            self.made[name, to] = result
        return self.made[name, to]

    def _widen_attributes(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in NARROW:
                raise ValueError(
                    f"{node.name} holds half-precision numbers in its attribute {attribute.name}"
                )


def _retyped(info: onnx.ValueInfoProto, name: str, to: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.name = name
    copy.type.tensor_type.elem_type = to
    return copy


def _same(source: np.ndarray, values: np.ndarray) -> bool:
    """Whether `values` can be `source` rounded to half precision (which may have made infinities)."""
    if source.shape != values.shape or source.dtype != np.float32:
        return False
    finite = np.isfinite(values)
    largest = float(np.abs(source[finite]).max(initial=0.0))
    allowed = SAME_WEIGHT * largest + VANISHING
    return bool((np.abs(source[finite] - values[finite]) <= allowed).all())


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _count(path: str, owners: Collection[str]) -> int:
    return sum(covers(path, owner) for owner in owners)


def _near(name: str, owners: Iterable[str]) -> str:
    paths = {path for owner in owners if owner for path in (*_parents(owner), owner)}
    close = difflib.get_close_matches(name, sorted(paths), n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; it has {', '.join(sorted(path for path in paths if '/' not in path))} and what is in them"
