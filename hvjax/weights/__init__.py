"""Weights from and to files, on plain nested dicts: PyTorch names (`convert`) and our own format (`io`)."""
