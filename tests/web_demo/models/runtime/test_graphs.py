"""The graph wrapper where there is no GPU: a plain call. What a GPU adds is measured by the benchmark."""

import pytest
import torch

from web_demo.models.runtime.graphs import GraphCache

pytestmark = pytest.mark.models


def test_on_a_cpu_the_function_simply_runs():
    graphs = GraphCache(torch.device("cpu"))
    graphs.capture("double", lambda x: x * 2, (torch.ones(2),))
    assert graphs.captured == 0
    assert graphs.run("double", lambda x: x * 2, (torch.full((3,), 4.0),)).tolist() == [8.0] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replayed_graph_takes_new_inputs_and_refuses_other_shapes():
    graphs = GraphCache(torch.device("cuda"))
    graphs.capture("double", lambda x: x * 2, (torch.ones(2, device="cuda"),))
    assert graphs.run("double", lambda x: x * 2, (torch.tensor([3.0, 4.0], device="cuda"),)).tolist() == [6.0, 8.0]
    with pytest.raises(ValueError, match="takes"):
        graphs.run("double", lambda x: x * 2, (torch.ones(3, device="cuda"),))
