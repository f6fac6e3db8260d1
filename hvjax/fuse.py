"""From a trained model to its deploy form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvjax.dense.heads import HEADS
from hvjax.models.features import Network
from hvjax.registry import MODELS
from hvjax.reparam import transform
from hvjax.structure import check_variables


def reparameterize(model: Network, variables: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Fuse every batch norm into a neighbouring layer: fewer operations, the same function.

    A pure function: the input is not edited, and with a fixed model it works under `jax.jit`. The
    deploy model computes what `model` computes with `train=False`, up to rounding; only the feature
    "pre_logits" differs where the last norm went into the head. A model in deploy form is returned as
    it is, with its variables.

    Args:
      model: a model of hvjax.
      variables: its variables, `{"params": ..., "batch_stats": ...}`.

    Returns:
      The model with `deploy=True`, and its variables, `{"params": ...}`.

    Raises:
      ValueError: if the variables are not of the model; the message lists the differences.
    """
    check_variables(model, variables)
    if model.deploy:
        return model, variables
    rows = (*MODELS.values(), *HEADS.values())
    fusion_rules = next(row.fusion_rules for row in rows if row.model is type(model))
    return model.clone(deploy=True), transform.reparameterize(variables, fusion_rules(model.config))
