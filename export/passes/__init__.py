"""Rewrites of the program before lowering: one pattern a file, applied in the order of `PASSES`."""

from export.lower.program import Program
from export.passes.affine import fold_affine
from export.passes.attention import shape_attention
from export.passes.bias import fold_bias
from export.passes.broadcast import dissolve_broadcasts
from export.passes.commute import widen_linear
from export.passes.concat import sink_bias_behind_concat
from export.passes.erfc import raise_erfc
from export.passes.fold import fold_constants
from export.passes.gelu import raise_gelu
from export.passes.group_norm import raise_group_norm
from export.passes.keep_axes import keep_reduced_axes
from export.passes.layer_norm import raise_layer_norm
from export.passes.linear import raise_linear
from export.passes.mean import raise_mean
from export.passes.order import raise_orders
from export.passes.pad import pad_constant_rows
from export.passes.pool import pool_token_runs, raise_average_pool
from export.passes.project import raise_projections
from export.passes.relu import raise_relu
from export.passes.resize import raise_resize
from export.passes.scale import fold_scale
from export.passes.scatter import spread_scatters
from export.passes.share import share_repeated
from export.passes.sigmoid import raise_sigmoid
from export.passes.softmax import raise_softmax
from export.passes.token_attention import shape_token_attention

# Order matters: the patterns are written for a program whose constants are folded and whose broadcasts are
# dissolved.
PASSES = (
    raise_orders,
    fold_constants,
    spread_scatters,
    fold_constants,
    dissolve_broadcasts,
    fold_constants,
    share_repeated,
    pad_constant_rows,
    raise_resize,
    raise_relu,
    raise_sigmoid,
    raise_erfc,
    raise_gelu,
    raise_linear,
    raise_projections,
    fold_bias,
    fold_affine,
    raise_average_pool,
    raise_mean,
    keep_reduced_axes,
    raise_layer_norm,
    raise_group_norm,
    pool_token_runs,
    raise_softmax,
    fold_scale,
    shape_token_attention,
    shape_attention,
    widen_linear,
    sink_bias_behind_concat,
    fold_constants,
)


def run_passes(program: Program) -> None:
    """Apply every pass once, in order."""
    for rewrite in PASSES:
        rewrite(program)
