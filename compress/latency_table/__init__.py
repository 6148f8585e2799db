"""Predicted times of nets on this machine: measured probes (``probes``), a model (``model``), a store (``table``)."""
