"""Names read from torchvision's sources are those torchvision itself gives."""

from __future__ import annotations

import subprocess
import sys

from compress.models.torchvision_names import classifiers


def test_names_are_torchvision_s_own() -> None:
    from torchvision import models

    own = {name: tuple(w.name for w in models.get_model_weights(name)) for name in models.list_models(models)}
    assert len(own) > 50
    assert classifiers() == own


def test_torchvision_is_not_imported() -> None:
    code = (
        "import sys; from compress.models.zoo import TorchvisionModel;"
        "assert not TorchvisionModel(name='mobilenet_v3_small', weights='DEFAULT').check();"
        "print(TorchvisionModel(name='mobilenet_v3_smal').check()[0], 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "mobilenet_v3_small" in out
    assert out.strip().endswith("False")
