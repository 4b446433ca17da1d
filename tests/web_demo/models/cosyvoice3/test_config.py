"""`cosyvoice3.yaml` is data: nothing in it is executed."""

import shutil

import pytest

from web_demo.errors import SetupError
from web_demo.models.cosyvoice3.config import load_config, read_yaml

pytestmark = pytest.mark.models

SKELETON = """
chunk: 25
ratio: 2
sample_rate: 24000
llm: {llm}
flow: {{size: !ref <chunk> * <ratio>}}
hift: {{}}
feat_extractor: {{}}
"""


def test_a_tag_that_names_a_function_is_not_called(tmp_path):
    victim = tmp_path / "created"
    data = read_yaml(SKELETON.format(llm=f"!apply:os.mkdir ['{victim}']"))
    assert data["llm"] == (str(victim),)
    assert not victim.exists()


def test_python_tags_are_refused():
    with pytest.raises(Exception, match="could not determine a constructor"):
        read_yaml(SKELETON.format(llm="!!python/object/apply:os.getcwd []"))


def test_references_are_looked_up_and_multiplied():
    assert read_yaml(SKELETON.format(llm="!ref <sample_rate>"))["flow"]["size"] == 50
    assert read_yaml(SKELETON.format(llm="!ref <sample_rate>"))["llm"] == 24000


def test_an_unknown_reference_is_named():
    with pytest.raises(SetupError, match="<nowhere>"):
        read_yaml(SKELETON.format(llm="!ref <nowhere>"))


def test_sizes_come_from_the_files(model_dir, tmp_path):
    assert load_config(model_dir).flow.dit.dim == 64
    changed = tmp_path / "model"
    shutil.copytree(model_dir, changed)
    text = (changed / "cosyvoice3.yaml").read_text()
    (changed / "cosyvoice3.yaml").write_text(
        text.replace("dim: 64", "dim: 1024").replace("chunk_size: 25", "chunk_size: 10")
    )
    config = load_config(changed)
    assert (config.flow.dit.dim, config.flow.block_tokens) == (1024, 10)


def test_a_directory_without_a_model_says_which_file_is_missing(tmp_path):
    with pytest.raises(SetupError, match=r"cosyvoice3\.yaml"):
        load_config(tmp_path)


def test_a_missing_entry_is_named(model_dir, tmp_path):
    broken = tmp_path / "model"
    shutil.copytree(model_dir, broken)
    text = (broken / "cosyvoice3.yaml").read_text()
    (broken / "cosyvoice3.yaml").write_text(text.replace("vocab_size: 6561", ""))
    with pytest.raises(SetupError, match="vocab_size"):
        load_config(broken)
