"""Times of exported models on this machine, which may be the device: ``run``; in reports: ``report``."""
