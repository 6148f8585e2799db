"""Whether this machine's timings can be trusted: ``diagnosis``, by ``machine``, ``software``, ``noise``."""
