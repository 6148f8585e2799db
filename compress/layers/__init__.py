"""A net layer by layer, as its runtime profiles it: ``times``, as a ``table`` and as a ``plot``."""
