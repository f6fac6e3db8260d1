"""Flax Linen modules shared by the model families.

Every child has an explicit name, so that a parameter path reads like the paper. Modules are called with
`(x, *, train=False)`; modules that differ after reparameterisation have a field `deploy`.
"""
