"""Training steps stay finite on hard images, and the network exports."""

from functools import partial

import pytest
import torch
from detectron2.structures import ImageList
from helpers.grouppose_oracle import tiny
from helpers.image_samples import sample
from helpers.model_contract import hard_images, trains_in_half_precision
from torch import Tensor, nn
from torch.testing import assert_close


@pytest.mark.parametrize("config", ["R_50.yaml", pytest.param("official/R_50.yaml", marks=pytest.mark.long)])
def test_hard_images_train_in_half_precision(config: str) -> None:
    """The optimizer and the clipping are those of the configuration; `make hard` takes more steps."""
    model = tiny(config=config)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-4)
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=0.1)
    trains_in_half_precision(model, hard_images(), optimizer, clip)


class Network(nn.Module):
    """From a normalized image to the logits and keypoints of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = tiny().eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        images = ImageList(image, [(image.shape[2], image.shape[3])])
        predictions = self.model.find(images).predictions[-1]
        return predictions.logits, predictions.poses.keypoints


def test_the_network_exports() -> None:
    network = Network()
    images = network.model.preprocess([sample(0, 1)]).tensor
    exported = torch.export.export(network, (images,)).module()
    other = network.model.preprocess([sample(1, 1)]).tensor
    with torch.no_grad():
        for found, expected in zip(exported(other), network(other), strict=True):
            assert_close(found, expected)
