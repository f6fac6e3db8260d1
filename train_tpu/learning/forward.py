"""The model's pass in training: batch statistics, frozen parts and rematerialisation, for any model.

Models know nothing of these choices. They are made from outside, where Flax lets calls of submodules be
intercepted: a batch norm under frozen parameters is called as in inference, a block is computed again on the
way back instead of being kept.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.layers import DropPath
from train_tpu.state import as_variables

# The module path of a block in every family, also inside of a segmenter or detector: what `model.remat`
# computes again as a unit.
BLOCK = re.compile(r"(backbone/)?stage\d+/block\d+")

_PRODUCTS = (jax.lax.dot_general_p, jax.lax.conv_general_dilated_p)


def _save_products(primitive: Any, *_: Any, **__: Any) -> bool:
    """A policy of jax.checkpoint: `dots_saveable` knows matrix products only."""
    return primitive in _PRODUCTS


# model.remat -> what of a block is kept for the way back, beside its input.
POLICIES: dict[str, Callable[..., bool]] = {
    "dots": _save_products,
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class Forward:
    """Call it with parameters, running statistics, images and a key.

    Attributes:
      model: built by hvjax.create_model.
      remat: none, dots (of each block, keep matrix products and convolutions only) or full (keep its input
        only). Gradients are those of "none", up to the order of sums.
      groups: batch statistics are taken over each of so many equal parts of the batch, in order of rows, and
        the running statistics move by the mean over the groups; 1 = over the whole batch. DropPath draws its
        numbers for each group.
      frozen: parameters -> tree of bool, True for those that are not learned (`groups.frozen`):
        they get no gradient. A batch norm of frozen parameters normalises by its running statistics and
        leaves them as they are; a DropPath beside frozen parameters only drops nothing. None, of the function
        or what it returns: all are learned.
      still_norms: regular expression of the names of batch norms ("backbone.stage1.block1.norm") that
        normalise by their running statistics and leave them as they are, while scale and bias are learned;
        "" = none. mmdetection's `norm_eval`.
      method: of the model, which takes the arguments and `train`.
      streams: names of what the method draws from; the first one's key is the one given.
    """

    model: Any
    remat: str = "none"
    groups: int = 1
    frozen: Callable[[Any], Any] | None = None
    still_norms: str = ""
    method: str = "__call__"
    streams: tuple[str, ...] = ("dropout",)

    def __call__(self, params: Any, batch_stats: Any, *arguments: Any) -> tuple[Any, Any]:
        """What the method answers, and the new running statistics.

        Args:
          *arguments: trees of arrays, batch first (images (b, h, w, c) alone, for a classifier); a key last.
        Returns:
          The answer (logits (b, classes), for a classifier) has the batch first too, or is a mean over it;
          with `groups` it is then one for each group.
        """
        *inputs, key = arguments
        frozen = self.frozen(params) if self.frozen else None
        if frozen is not None:
            stop = jax.lax.stop_gradient
            params = jax.tree.map(lambda f, p: stop(p) if f else p, frozen, params)
        if self.groups == 1:
            return self._apply(params, batch_stats, inputs, key)
        parts = jax.tree.map(lambda x: x.reshape(self.groups, -1, *x.shape[1:]), inputs)
        keys = jax.random.split(key, self.groups)
        answer, stats = jax.vmap(lambda part, key: self._apply(params, batch_stats, part, key))(parts, keys)
        # the change's mean, not the mean: what has not changed stays the same bits
        stats = jax.tree.map(lambda old, new: old + (new - old).mean(0), batch_stats, stats)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), answer), stats

    def _apply(self, params: Any, batch_stats: Any, inputs: list[Any], key: jax.Array) -> tuple[Any, Any]:
        frozen = self.frozen(params) if self.frozen else None
        still = re.compile(self.still_norms) if self.still_norms else None
        keys = [key, *(jax.random.fold_in(key, i) for i in range(1, len(self.streams)))]
        with nn.intercept_methods(_Interceptor(self.remat, _live_modules(frozen), still)):
            answer, updated = self.model.apply(
                as_variables(params, batch_stats),
                *inputs,
                train=True,
                mutable=["batch_stats"],
                method=self.method,
                rngs=dict(zip(self.streams, keys, strict=True)),
            )
        return answer, updated.get("batch_stats", batch_stats)


class _Interceptor:
    """Called by Flax in the place of each method of each module."""

    def __init__(
        self, remat: str, live: frozenset[tuple[str, ...]] | None, still: "re.Pattern[str] | None" = None
    ):
        self._policy = POLICIES.get(remat)
        self._live = live
        self._still = still
        self._inside_block = False

    def __call__(
        self, call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if self._is_frozen(module):
            kwargs = {**kwargs, "train": False}
        if self._policy is None or self._inside_block or not BLOCK.fullmatch("/".join(module.path)):
            return call(*args, **kwargs)

        def block(module: nn.Module, *args: Any) -> Any:
            return module(*args, **kwargs)  # type: ignore[operator]

        self._inside_block = True  # the block's own call comes here again
        try:
            return nn.remat(block, policy=self._policy)(module, *args)
        finally:
            self._inside_block = False

    def _is_frozen(self, module: nn.Module) -> bool:
        if self._still and isinstance(module, BatchNorm) and self._still.search(".".join(module.path)):
            return True
        if self._live is None or not isinstance(module, BatchNorm | DropPath):
            return False
        return (module.path if isinstance(module, BatchNorm) else module.path[:-1]) not in self._live


def _live_modules(frozen: Any) -> frozenset[tuple[str, ...]] | None:
    """Paths of the modules with a parameter, their own or a child's, that is learned; None = all."""
    if frozen is None:
        return None
    live = set()
    for path, is_frozen in jax.tree_util.tree_leaves_with_path(frozen):
        if not is_frozen:
            names = tuple(entry.key for entry in path)
            live.update(names[:depth] for depth in range(len(names)))
    return frozenset(live)
