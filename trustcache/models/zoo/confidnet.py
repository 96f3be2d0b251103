"""The paper's small-scale classifiers (Table 2), with the layers of ConfidNet's repository (Corbiere et al. 2019).

https://github.com/valeoai/ConfidNet: `small_convnet_mnist` and `vgg16`. Their parameters have the same names
as there, so that checkpoints of that code load unchanged.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from trustcache.models.zoo.cifar_resnet import CIFAR_CONFIG

MNIST_CONFIG = CIFAR_CONFIG | {
    "input_size": (3, 28, 28),
    "mean": (0.1307, 0.1307, 0.1307),
    "std": (0.3081, 0.3081, 0.3081),
    "classifier": "fc2",
}
CIFAR_VGG_CONFIG = CIFAR_CONFIG | {
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2023, 0.1994, 0.2010),
    "classifier": "fc2",
}
# Channels of VGG-16's convolutions, and what follows each: dropout at that rate, or (None) max pooling.
VGG_LAYERS = (
    *((64, 0.3), (64, None)),
    *((128, 0.4), (128, None)),
    *((256, 0.4), (256, 0.4), (256, None)),
    *((512, 0.4), (512, 0.4), (512, None)),
    *((512, 0.4), (512, 0.4), (512, None)),
)


class MnistConvNet(nn.Module):
    """Two 3x3 convolutions, pooling, a hidden layer of 128, and dropout before and after it.

    Its input is one channel, the mean of the three that every data set here gives: for grey images the grey value.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.pretrained_cfg = MNIST_CONFIG
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(64 * 12 * 12, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (N, 3, 28, 28) to logits (N, num_classes)."""
        x = F.relu(self.conv1(x.mean(dim=1, keepdim=True)))
        x = self.dropout1(F.max_pool2d(F.relu(self.conv2(x)), 2))
        return self.fc2(self.dropout2(F.relu(self.fc1(x.flatten(1)))))


class CifarVgg16(nn.Module):
    """VGG-16 for 32x32 pixels: batch norm after each ReLU, reflected borders, dropout almost everywhere."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.pretrained_cfg = CIFAR_VGG_CONFIG
        before = 3
        for number, (channels, rate) in enumerate(VGG_LAYERS, 1):
            self.add_module(f"conv{number}", _ReflectedConv(before, channels))
            self.add_module(f"conv{number}_bn", nn.BatchNorm2d(channels))
            self.add_module(f"conv{number}_then", nn.MaxPool2d(2) if rate is None else nn.Dropout(rate))
            before = channels
        self.end_dropout = nn.Dropout(0.5)
        self.fc1 = nn.Linear(512, 512)
        self.dropout_fc = nn.Dropout(0.5)
        self.fc2 = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (N, 3, 32, 32) to logits (N, num_classes)."""
        for number in range(1, len(VGG_LAYERS) + 1):
            x = self.get_submodule(f"conv{number}_bn")(F.relu(self.get_submodule(f"conv{number}")(x)))
            x = self.get_submodule(f"conv{number}_then")(x)
        x = self.end_dropout(x).flatten(1)
        return self.fc2(self.dropout_fc(F.relu(self.fc1(x))))


class _ReflectedConv(nn.Module):
    """A 3x3 convolution with reflection padding."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(channels_in, channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)
