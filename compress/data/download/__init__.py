"""Public data sets, fetched: ``fetch``, file by file over ``http``, and what came in a zip."""
