"""Recipes. The trainer finds them by path: users may have a folder of this name, so nothing imports it."""
