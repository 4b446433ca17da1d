"""Write the tiny CosyVoice3 of the tests in the public layout, with what upstream's loader wants beside it: weights of the Qwen2
that llm.pt then overwrites.

    python3 tests/tools/make_tiny_cosyvoice.py FOLDER      # the model is then FOLDER/model
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file
from transformers import AutoConfig, Qwen2ForCausalLM

from tests.web_demo.models.cosyvoice3.golden import expanded

folder = expanded(Path(sys.argv[1]))
qwen = folder / "model" / "CosyVoice-BlankEN"
weights = Qwen2ForCausalLM(AutoConfig.from_pretrained(qwen)).state_dict()
del weights["lm_head.weight"]  # tied
save_file(weights, qwen / "model.safetensors", metadata={"format": "pt"})
