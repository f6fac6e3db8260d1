"""The state of the machine before and after measuring: what may explain an odd number."""

from __future__ import annotations

import os
from typing import Any

from export import provenance


def now() -> dict[str, Any]:
    """{"load": processes that wanted a processor in the last minute, "gpu": clocks, ... or None}."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"load": load, "gpu": provenance.gpu()}
