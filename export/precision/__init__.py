"""Half precision that is proved: value ranges, float32 islands, the search for them, emulated rounding.

ranges.py   how large every tensor becomes, in float32: what float16 cannot hold
islands.py  rewrites a typed graph so that named modules stay float32
search.py   finds the fewest such modules with which the gate passes
emulate.py  a float32 copy that rounds wherever the file does, for types that no CPU runs
settle.py   what the commands call: the file as it ships, its gate, and what was found
"""

from __future__ import annotations

#: Precisions that ONNX Runtime's CPU provider has no arithmetic for: only emulated files can be gated.
CANNOT_RUN = frozenset({"bf16"})
#: The largest finite number of each half precision.
HOLDS = {"fp16": 65504.0, "bf16": float.fromhex("0x1.fep127")}
