"""The parts of ``compress.train.fit``: losses, schedules, averaging, checkpoints, progress."""
