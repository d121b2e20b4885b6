"""Networks that are no recipes, written once for both libraries, as their users write them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

Build = Callable[[Any, Any], Any]  # (the library, its nn) -> a class of modules


def lenet(lib: Any, nn: Any) -> Any:
    """5×5 convolutions and average pooling (LeCun et al. 1998)."""

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 16, 5, padding=2), nn.Conv2d(16, 32, 5)
            self.pool = nn.AvgPool2d(2)
            self.fc1, self.fc2 = nn.Linear(32 * 5 * 5, 120), nn.Linear(120, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(self.conv1(x).relu())
            x = self.pool(self.conv2(x).relu())
            return self.fc2(self.fc1(x.flatten(1)).relu())

    return LeNet


def unpadded(lib: Any, nn: Any) -> Any:
    """3×3 convolutions without padding, as in PyTorch's example for MNIST."""

    class Unpadded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
            self.pool = nn.MaxPool2d(2)
            self.fc1, self.fc2 = nn.Linear(64 * 12 * 12, 128), nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            x = self.conv2(self.conv1(x).relu()).relu()
            return self.fc2(self.fc1(self.pool(x).flatten(1)).relu())

    return Unpadded


def vgg(lib: Any, nn: Any) -> Any:
    """Pairs of 3×3 convolutions, each with a norm (Simonyan and Zisserman 2014)."""

    class VGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [1, 16, 16, 32, 32, 64, 64]
            pairs = list(pairwise(widths))
            self.convs = nn.ModuleList(
                [nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairs]
            )
            self.norms = nn.ModuleList([nn.BatchNorm2d(o) for _, o in pairs])
            self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(64 * 3 * 3, 10)

        def forward(self, x: Any) -> Any:
            for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
                x = norm(conv(x)).relu()
                if i % 2:
                    x = self.pool(x)
            return self.fc(x.flatten(1))

    return VGG


def depthwise(lib: Any, nn: Any) -> Any:
    """Depthwise and pointwise convolutions in turn (MobileNet, Howard et al. 2017)."""

    class Separable(nn.Module):
        def __init__(self, channels: int, outputs: int, stride: int) -> None:
            super().__init__()
            how = {"stride": stride, "padding": 1, "groups": channels, "bias": False}
            self.depth = nn.Conv2d(channels, channels, 3, **how)
            self.norm1 = nn.BatchNorm2d(channels)
            self.point = nn.Conv2d(channels, outputs, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(outputs)

        def forward(self, x: Any) -> Any:
            x = self.norm1(self.depth(x)).relu()
            return self.norm2(self.point(x)).relu()

    class MobileNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
            sizes = [(16, 32, 1), (32, 64, 2), (64, 64, 1)]
            self.blocks = nn.ModuleList([Separable(*size) for size in sizes])
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.norm(self.stem(x)).relu()
            for block in self.blocks:
                x = block(x)
            return self.fc(self.pool(x).flatten(1))

    return MobileNet


def inception(lib: Any, nn: Any) -> Any:
    """Branches of 1×1, 3×3, 5×5 and a pool, concatenated (Szegedy et al. 2014)."""

    class Inception(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(channels, 16, 1)
            self.three1, self.three2 = nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 24, 3, padding=1)
            self.five1, self.five2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, 8, 5, padding=2)
            self.pool, self.after = nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, 8, 1)

        def forward(self, x: Any) -> Any:
            three, five = self.three2(self.three1(x).relu()), self.five2(self.five1(x).relu())
            return lib.cat([self.one(x), three, five, self.after(self.pool(x))], 1).relu()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2)
            self.first, self.second = Inception(16), Inception(56)
            self.fc = nn.Linear(56, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(self.stem(x).relu())
            x = self.second(self.pool(self.first(x)))
            return self.fc(x.mean((2, 3)))

    return Net


def dense(lib: Any, nn: Any) -> Any:
    """Every layer sees all before it (DenseNet, Huang et al. 2016)."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2)
            widths = [16 + 12 * i for i in range(4)]
            self.norms = nn.ModuleList([nn.BatchNorm2d(width) for width in widths])
            self.convs = nn.ModuleList([nn.Conv2d(w, 12, 3, padding=1) for w in widths])
            self.fc = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(self.stem(x))
            for norm, conv in zip(self.norms, self.convs, strict=True):
                x = lib.cat([x, conv(norm(x).relu())], 1)
            return self.fc(self.pool(x).mean((2, 3)))

    return Dense


def mixer(lib: Any, nn: Any) -> Any:
    """Layer norm and GELU on patches, mixed across and within (Tolstikhin et al. 2021)."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(64), nn.LayerNorm(64)
            self.a, self.b = nn.Linear(49, 98), nn.Linear(98, 49)
            self.c, self.d, self.gelu = nn.Linear(64, 128), nn.Linear(128, 64), nn.GELU()

        def forward(self, x: Any) -> Any:
            y = self.norm1(x).transpose(1, 2)
            x = x + self.b(self.gelu(self.a(y))).transpose(1, 2)
            return x + self.d(self.gelu(self.c(self.norm2(x))))

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 64, 4, stride=4)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.norm, self.fc = nn.LayerNorm(64), nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x).flatten(2).transpose(1, 2)
            for block in self.blocks:
                x = block(x)
            return self.fc(self.norm(x).mean(1))

    return Mixer


def transformer(lib: Any, nn: Any) -> Any:
    """Self-attention with four heads over the rows of an image (Vaswani et al. 2017)."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(64), nn.LayerNorm(64)
            self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
            self.up, self.down, self.gelu = nn.Linear(64, 128), nn.Linear(128, 64), nn.GELU()

        def forward(self, x: Any) -> Any:
            n, t, c = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
            weights = (qkv[0] @ qkv[1].transpose(-2, -1) * (c // 4) ** -0.5).softmax(-1)
            y = (weights @ qkv[2]).transpose(1, 2).reshape(n, t, c)
            x = x + self.out(y)
            return x + self.down(self.gelu(self.up(self.norm2(x))))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(28, 64)
            self.blocks = nn.ModuleList([Attention(), Attention()])
            self.norm, self.fc = nn.LayerNorm(64), nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.embed(x.squeeze(1))
            for block in self.blocks:
                x = block(x)
            return self.fc(self.norm(x).mean(1))

    return Transformer


def autoencoder(lib: Any, nn: Any) -> Any:
    """Strided convolutions down, transposed ones up."""

    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
            self.down2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
            self.up1 = nn.ConvTranspose2d(32, 16, 2, stride=2)
            self.up2 = nn.ConvTranspose2d(16, 1, 2, stride=2)

        def forward(self, x: Any) -> Any:
            x = self.down2(self.down1(x).relu()).relu()
            return self.up2(self.up1(x).relu()).sigmoid()

    return Autoencoder


def unet(lib: Any, nn: Any) -> Any:
    """Down and up again, with what was on the way down beside it (Ronneberger et al. 2015)."""

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
            self.c, self.pool = nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2)
            self.up1, self.up2 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
            self.d, self.e = nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(32, 16, 3, padding=1)
            self.out = nn.Conv2d(16, 1, 1)

        def forward(self, x: Any) -> Any:
            a = self.a(x).relu()
            b = self.b(self.pool(a)).relu()
            c = self.c(self.pool(b)).relu()
            d = self.d(lib.cat([self.up1(c), b], 1)).relu()
            e = self.e(lib.cat([self.up2(d), a], 1)).relu()
            return self.out(e).sigmoid()

    return UNet


def squeeze(lib: Any, nn: Any) -> Any:
    """Channels weighted by what is in all of them (Hu et al. 2017)."""

    class Weighted(nn.Module):
        def __init__(self, channels: int, outputs: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
            self.norm, self.pool = nn.BatchNorm2d(outputs), nn.AdaptiveAvgPool2d(1)
            self.down, self.up = nn.Linear(outputs, 8), nn.Linear(8, outputs)

        def forward(self, x: Any) -> Any:
            x = self.norm(self.conv(x)).relu()
            s = self.up(self.down(self.pool(x).flatten(1)).relu()).sigmoid()
            return x * s.reshape(*s.shape, 1, 1)

    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Weighted(1, 16), Weighted(16, 32)
            self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(32 * 7 * 7, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(self.second(self.pool(self.first(x))))
            return self.fc(x.flatten(1))

    return Squeeze


def preactivation(lib: Any, nn: Any) -> Any:
    """Norm and ReLU before each convolution (He et al. 2016)."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(32), nn.BatchNorm2d(32)
            self.conv1 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(32, 32, 3, padding=1, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.conv1(self.norm1(x).relu())
            return x + self.conv2(self.norm2(y).relu())

    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 32, 3, stride=2, padding=1)
            self.blocks, self.fc = nn.ModuleList([Block(), Block()]), nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.fc(x.relu().mean((2, 3)))

    return PreActivation


ARCHITECTURES: dict[str, Build] = {
    "5x5, average pool": lenet,
    "unpadded 3x3": unpadded,
    "VGG with norms": vgg,
    "depthwise-separable": depthwise,
    "inception branches": inception,
    "dense connections": dense,
    "layer norm, GELU": mixer,
    "transformer": transformer,
    "autoencoder": autoencoder,
    "U-Net": unet,
    "squeeze, excitation": squeeze,
    "pre-activation": preactivation,
}
IMAGES_OUT = ("autoencoder", "U-Net")  # they are trained to give the image back
