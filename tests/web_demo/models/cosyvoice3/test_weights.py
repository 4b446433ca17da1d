"""Reading weights: tensors only, weight norm folded, misfits named."""

import pickle

import pytest
import torch
from torch.nn.utils import parametrizations

from web_demo.errors import SetupError
from web_demo.models.cosyvoice3.load import load_vocoder
from web_demo.models.cosyvoice3.weights import fold_weight_norm, read_weights

pytestmark = pytest.mark.models


class Trap:
    def __reduce__(self):
        return (print, ("executed while loading",))


def test_a_pickle_with_code_is_refused_unread(tmp_path, capsys):
    path = tmp_path / "hift.pt"
    torch.save({"weight": torch.zeros(1), "trap": Trap()}, path)
    with pytest.raises(SetupError, match=r"hift\.pt"):
        read_weights(path)
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SetupError, match=r"raw\.pt"):
        read_weights(tmp_path / "raw.pt")
    assert "executed" not in capsys.readouterr().out


def test_folded_weight_norm_is_the_layer_itself():
    layer = parametrizations.weight_norm(torch.nn.Conv1d(3, 4, 5))
    torch.nn.init.normal_(layer.parametrizations.weight.original0)
    folded = fold_weight_norm(dict(torch.nn.ModuleDict({"conv": layer}).state_dict()))
    assert set(folded) == {"conv.bias", "conv.weight"}
    torch.testing.assert_close(folded["conv.weight"], layer.weight.detach())


def test_weights_that_do_not_fit_name_the_tensor(model_dir, tmp_path):
    for name in ("cosyvoice3.yaml", "hift.pt"):
        (tmp_path / name).write_bytes((model_dir / name).read_bytes())
    (tmp_path / "CosyVoice-BlankEN").symlink_to(model_dir / "CosyVoice-BlankEN")
    weights = torch.load(tmp_path / "hift.pt", weights_only=True)
    del weights["conv_pre.bias"]
    torch.save(weights, tmp_path / "hift.pt")
    with pytest.raises(SetupError, match=r"conv_pre\.bias"):
        load_vocoder(tmp_path)
