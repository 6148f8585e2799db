"""COCO boxes (``coco``, ``boxes``) to a classification set: judged, dealt out (``make``), cut (``write``)."""
