"""What a run keeps, so that nothing is lost: the workdir and its lock, checkpoints, signals."""
