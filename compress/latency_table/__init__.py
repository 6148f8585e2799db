"""Predicted times of nets on this machine: ``units``, ``probes``, ``model``, and the stored ``table``."""
