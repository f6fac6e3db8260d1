"""Random small networks, exported and compared with JAX. What they found is tested beside the code."""

from __future__ import annotations

from fuzz import Network, check_half, check_network, networks
from hypothesis import given, settings

# Of the networks of a profile, the share that is tried in float16 too.
HALF_SHARE = 3


@given(network=networks())
def test_networks_answer_like_jax(network: Network) -> None:
    check_network(network)


@settings(max_examples=settings().max_examples // HALF_SHARE)
@given(network=networks(half=True))
def test_networks_in_float16_answer_like_jax(network: Network) -> None:
    check_half(network)
