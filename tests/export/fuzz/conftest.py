"""How many networks hypothesis draws: few and always the same, or as many as wanted.

`HYPOTHESIS_PROFILE=long pytest tests/export/fuzz` draws new ones each time; tests/benchmarks/fuzz_exports.py
goes on for as long as it is told.
"""

import os
from pathlib import Path
from tempfile import gettempdir

from hypothesis import HealthCheck, configuration, settings

# Networks are made of many draws, of which some are refused: that is no reason to stop.
COMMON = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("short", COMMON, max_examples=60, derandomize=True)
settings.register_profile("long", COMMON, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
configuration.set_hypothesis_home_dir(Path(gettempdir()) / "hvjax-hypothesis")  # nothing beside the tests
