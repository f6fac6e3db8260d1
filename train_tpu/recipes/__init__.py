"""The recipes of whole families: `configs/<model>.py` calls them with the numbers of its size.

They are here and not beside the configs because configs are executed by path and cannot import each other.
"""
