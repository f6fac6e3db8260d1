"""Published weights: fetched from the Hugging Face hub, checked, loaded.

Nothing here touches the network before `fetch` is called. Files are kept in the hub's own cache; a file that
was put by hand where `local_file` says is taken without asking the network.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import sys
import urllib.parse
import urllib.request
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from hvjax.adapt import adapt
from hvjax.models.features import Network
from hvjax.ops.trees import Tree
from hvjax.registry import create_model, get_spec, identify
from hvjax.saving import load_weights
from hvjax.spec import Pretrained
from hvjax.torch_weights import load_torch
from hvjax.weights.io import is_ours

HUB = "https://huggingface.co"
CHUNK = 1 << 20  # bytes read at a time for the checksum
CONNECT_TIMEOUT = 10.0  # seconds


class WeightsUnavailable(OSError):
    """The weights are not here and could not be fetched; the message says where to get and put the file."""


def load_pretrained(
    name: str, tag: str | None = None, *, dtype: Any = jnp.float32, deploy: bool = False, **overrides: Any
) -> tuple[Any, Tree]:
    """A model with published weights.

    >>> model, variables = hvjax.load_pretrained("fastvit_sa12", num_classes=10)  # doctest: +SKIP

    Args:
      name: one of `hvjax.list_models()`.
      tag: which weights, as `python -m hvjax.info NAME` lists them; the first by default.
      dtype: type of the computation.
      deploy: return the fused form.
      **overrides: fields of the model's config. Another `num_classes` keeps all but the head, another
        `in_channels` sums or repeats the first kernels, another `image_size` interpolates tables of
        positions; a UserWarning says so.

    Returns:
      The model and its variables, NumPy arrays, float32.

    Raises:
      ValueError: unknown name, tag or field; a file whose checksum or tensors are not the expected ones.
      WeightsUnavailable: (an OSError) no network, or no such file there; one line says what to do.
      ImportError: if huggingface_hub is missing.
    """
    spec = get_spec(name)
    if is_dataclass(getattr(spec.config, "backbone", None)):
        raise ValueError(
            f"no published weights are known for {name}; those of its backbone come in by "
            "hvjax.dense.start.from_classifier"
        )
    weights = spec.weights(tag, name)
    if weights.image_size is not None and "image_size" in {f.name for f in fields(spec.config)}:
        overrides = {"image_size": weights.image_size, **overrides}  # the size that the tables are for
    model = create_model(name, dtype=dtype, deploy=deploy, **overrides)
    return model, load_torch(fetch(name, weights.tag), model, adapt=True)


def load_start(source: str, model: Network, key: Any = None) -> Tree:
    """Variables to start training `model` from: `pretrained`, `pretrained:TAG` or a weights file.

    Args:
      source: published weights of the model's own architecture; or a file of `hvjax.save_weights` of the same
        architecture, in training form; or a PyTorch checkpoint.
      key: for a head of another number of classes.

    Raises:
      FileNotFoundError, ValueError, WeightsUnavailable, ImportError: as of `load_pretrained`.
    """
    kind, _, tag = source.partition(":")
    if kind == "pretrained":
        return load_torch(fetch(identify(model)[0], tag or None), model, adapt=True, key=key)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {source!r}; expected one, or pretrained:TAG")
    if not is_ours(path):
        return load_torch(path, model, adapt=True, key=key)
    donor, variables = load_weights(path)
    if identify(donor)[0] != identify(model)[0]:
        raise ValueError(f"{source!r} is of {identify(donor)[0]}, not of {identify(model)[0]}")
    if donor.deploy != model.deploy:
        forms = ("deploy", "training") if donor.deploy else ("training", "deploy")
        raise ValueError(f"{source!r} holds the {forms[0]} form, and the model has the {forms[1]} form")
    return adapt(variables, donor, model, key)


def fetch(name: str, tag: str | None = None) -> Path:
    """File with published weights, downloaded unless it is here already; its licence is printed once.

    Raises:
      ValueError: unknown name or tag, or a file whose SHA-256 is not the one in the registry.
      WeightsUnavailable: no network, or no such file there.
      ImportError: if huggingface_hub is missing.
    """
    weights = get_spec(name).weights(tag, name)
    by_hand = local_file(name, weights)
    path = by_hand if by_hand.is_file() else _download(name, weights, by_hand)
    if weights.sha256 is not None and (found := _sha256(path)) != weights.sha256:
        raise ValueError(
            f"{path} has SHA-256 {found}, expected {weights.sha256} ({address(weights)}): "
            "delete it and try again"
        )
    _print_licence(weights)
    return path


def local_file(name: str, weights: Pretrained) -> Path:
    """Where a file that was fetched by other means is looked for: in $HVJAX_WEIGHTS, if that is set."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("HVJAX_WEIGHTS") or Path(cache) / "hvjax" / "weights"
    return Path(folder).expanduser() / f"{name}.{weights.tag}{Path(weights.file).suffix}"


def address(weights: Pretrained) -> str:
    """Address of the file on the hub."""
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    return f"{hub}/{weights.repo}/resolve/{weights.revision or 'main'}/{weights.file}"


def _download(name: str, weights: Pretrained, by_hand: Path) -> Path:
    advice = f"fetch {address(weights)} by other means and put it at {by_hand}"
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ModuleNotFoundError as error:
        raise ImportError(
            "fetching weights needs huggingface_hub, which is not installed: pip install 'hvjax[hub]'; "
            f"or {advice}"
        ) from error
    cached = try_to_load_from_cache(weights.repo, weights.file, revision=weights.revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        _check_network()
        endpoint = os.environ.get("HF_ENDPOINT")  # the client itself reads it only when it is imported
        return Path(hf_hub_download(weights.repo, weights.file, revision=weights.revision, endpoint=endpoint))
    except Exception as error:  # the hub's client raises its own, requests' or httpx's errors, by version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsUnavailable(
            f"the weights {weights.tag} of {name} could not be fetched ({reason}): {advice}"
        ) from error


def _check_network() -> None:
    """Raise OSError if the hub cannot be reached: its client would try again for half a minute first."""
    if urllib.request.getproxies():  # only the client knows how to go through them
        return
    hub = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", HUB))
    port = hub.port or (80 if hub.scheme == "http" else 443)
    socket.create_connection((hub.hostname, port), timeout=CONNECT_TIMEOUT).close()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def _print_licence(weights: Pretrained) -> None:
    print(f"weights {weights.repo}: licence {weights.license}", file=sys.stderr)
