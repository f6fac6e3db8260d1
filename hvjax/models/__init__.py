"""The model families, one file each. Create models by name with `hvjax.create_model`."""
