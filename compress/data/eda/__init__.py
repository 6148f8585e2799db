"""What a photo set shows when looked at: the parts of ``compress.eda``, its ``facts`` and ``findings``."""
