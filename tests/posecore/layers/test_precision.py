import pytest
import torch

from posecore.layers.precision import full_precision


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_precision_is_widened(given: torch.dtype, returned: torch.dtype) -> None:
    assert full_precision(torch.ones(2, dtype=given)).dtype == returned
