from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from web_demo.errors import SetupError
from web_demo.models.funaudiochat.loader import load_model, random_model
from web_demo.models.funaudiochat.model import FunAudioChat

pytestmark = pytest.mark.models

TIED_HEAD = "audio_invert_tower.lm_head.weight"


@pytest.fixture
def folder(golden: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "checkpoint"
    shutil.copytree(golden / "checkpoint", copy)
    return copy


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, folder / "model.safetensors")


def same(one: FunAudioChat, other: FunAudioChat) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_file_with_the_tied_speech_head_loads_like_one_without(folder: Path, model: FunAudioChat) -> None:
    rewrite(folder, **{TIED_HEAD: model.codebook.clone()})
    assert same(load_model(folder)[0], model)


def test_shards_load_like_one_file(folder: Path, model: FunAudioChat) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    assert same(load_model(folder)[0], model)


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"language_model.lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SetupError, match="model-00002-of-00002"):
        load_model(folder)


def test_an_index_cannot_name_a_file_outside_the_folder(folder: Path) -> None:
    index = {"weight_map": {"language_model.lm_head.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SetupError, match="outside"):
        load_model(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder, **{"audio_tower.output_matching.weight": None})
    with pytest.raises(SetupError, match=r"audio_tower\.output_matching\.weight"):
        load_model(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    rewrite(folder, **{"audio_tower.output_matching.weight": torch.zeros(64, 63)})
    with pytest.raises(SetupError, match=r"\[64, 63\].*\[64, 64\]"):
        load_model(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(SetupError, match="not a whole safetensors file"):
        load_model(folder)


def test_a_tied_text_head_needs_no_tensor(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    rewrite(folder, **{"language_model.lm_head.weight": None})
    loaded, _ = load_model(folder)
    assert loaded.language_model.lm_head.weight is loaded.language_model.model.embed_tokens.weight


def test_a_config_without_a_field_names_it(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["audio_config"]["codebook_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SetupError, match="codebook_size"):
        load_model(folder)


def test_half_precision_and_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    loaded, _ = load_model(folder, dtype=torch.bfloat16, progress=lambda done, total: seen.append((done, total)))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert seen[-1][0] == seen[-1][1] == len(seen)
    assert loaded.language_model.model.rotary_emb.inv_freq.dtype == torch.float32  # rounded angles would lose the place


def test_random_weights_of_one_seed_are_the_same(model: FunAudioChat) -> None:
    assert same(random_model(model.config, seed=3), random_model(model.config, seed=3))
    assert not same(random_model(model.config, seed=3), random_model(model.config, seed=4))
