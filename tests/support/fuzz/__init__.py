"""Random small networks for the export: drawn by hypothesis, printed as steps, compared with JAX."""

from fuzz.check import Mismatch, check_half, check_network
from fuzz.draw import networks
from fuzz.network import Network

__all__ = ["Mismatch", "Network", "check_half", "check_network", "networks"]
