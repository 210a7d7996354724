"""The settings of one training, and the names they give to files."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from numbers import Real

from lindiff.nn.noise_law import SIGMA_LAWS

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on, besides the pixels and the device.

    Parameters
    ----------
    arch : str
        Network, for example ``"unet-16"``, ``"mlp-384"``, ``"affine"`` (`lindiff.nn.build`).
    data : str
        Name of the set of images, for example ``"toyfaces"``.
    n_images : int
        Size N of the training set.
    images_seen : int
        Total budget, counted with repetition; rounded up to whole batches.
    subset : int
        1 or 2: disjoint training sets, for twins that differ in their data only.
    size : int
        Pixels along a side.
    batch : int
    learning_rate : float
        Constant after the warm-up.
    warmup : int
        Images over which the learning rate rises linearly from 0.
    betas : tuple of two floats
        Decay rates of Adam's moments.
    ema_halflife : float
        Half-life of the averaged weights, as a share of the images seen so far.
    sigma_law : {"edm+tail", "edm"}
    precision : {"auto", "fp32", "bf16", "fp16"}
        Arithmetic of the network; the loss and the weights are float32. ``"auto"``: bf16 on a
        CUDA device that has it, fp16 with a scaled loss on another, fp32 on the CPU.
    seed_weights, seed_noise : int
        Seeds of the initial weights; of the order of images, the noise levels and the noise.
    kind : {"edm", "noise", "clean"}
        What the network estimates.
    checkpoints_per_decade, first_checkpoint : int
        Checkpoints lie at the geometric counts first * 10**(j / per_decade).
    """

    arch: str
    data: str
    n_images: int
    images_seen: int
    subset: int = 1
    size: int = 32
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 50_000
    betas: tuple = (0.9, 0.99)
    ema_halflife: float = 0.05
    sigma_law: str = "edm+tail"
    precision: str = "auto"
    seed_weights: int = 0
    seed_noise: int = 0
    kind: str = "edm"
    checkpoints_per_decade: int = 10
    first_checkpoint: int = 5_000

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        positive = ("n_images", "images_seen", "size", "batch", "checkpoints_per_decade")
        for name in (*positive, "first_checkpoint"):
            _integer(name, getattr(self, name), 1)
        for name in ("warmup", "seed_weights", "seed_noise"):
            _integer(name, getattr(self, name), 0)
        for name in ("learning_rate", "ema_halflife"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < value < math.inf:
                raise ValueError(f"`{name}` must be a positive number, not {value!r}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"`betas` must be two numbers in [0, 1), not {self.betas!r}")
        choices = {
            "subset": (1, 2),
            "sigma_law": SIGMA_LAWS,
            "precision": PRECISIONS,
            "kind": ("edm", "noise", "clean"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, not {getattr(self, name)!r}")

    @property
    def key(self):
        """Twelve hex digits that name these settings."""
        return self.key_with(None)

    def key_with(self, fingerprint):
        """The same with the fingerprint of the training images, if it is not None."""
        text = json.dumps({**asdict(self), "fingerprint": fingerprint}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def n_steps(self):
        """Steps of one batch that fill the budget."""
        return -(-self.images_seen // self.batch)

    def checkpoint_steps(self):
        """Steps after which there is a checkpoint, the last step included."""
        steps, j = [], 0
        while True:
            count = self.first_checkpoint * 10 ** (j / self.checkpoints_per_decade)
            step = -(-round(count) // self.batch)
            if step >= self.n_steps:
                return [*steps, self.n_steps]
            if not steps or step > steps[-1]:
                steps.append(step)
            j += 1


def _integer(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}, not {value!r}")
