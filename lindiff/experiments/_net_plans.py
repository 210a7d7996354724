"""What the experiments on networks train and how they look at it, for each preset."""

from dataclasses import dataclass, replace

EDM_LEVELS = (0.002, 0.0204, 0.117, 0.47, 1.502, 4.066, 9.723, 21.109, 42.415, 80.0)
CORE_LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Plan:
    """The networks of a preset and the sizes of their evaluation.

    Parameters
    ----------
    data : str
        Name of an image set of `lindiff.nn.images`.
    size, width, batch, warmup, first_checkpoint, checkpoints_per_decade : int
        Side of the images, base width C of the U-Net, and settings of `TrainConfig`.
    learning_rate : float
    images_seen : int
        Budget of each training.
    images_seen_small : int
        Budget where N <= 256: copying has shown itself by then.
    sizes : tuple of int
        Training-set sizes N of E1 to E4 and E8.
    levels : tuple of float
        Noise levels at which denoisers are compared.
    n_test, n_population, n_pairs, n_samples, n_distil : int
        Held-out images; images behind the population's Gaussian; pairs for linearity;
        samples; noisy images for a linear distillation.
    n_steps : int
        Heun steps of a sample.
    together : int
        Networks trained at once on a GPU.
    compile : bool
        Compile the U-Net of base width `width` on a GPU.
    """

    data: str = "toyfaces"
    size: int = 32
    width: int = 32
    batch: int = 512
    learning_rate: float = 1e-3
    warmup: int = 50_000
    first_checkpoint: int = 5_000
    checkpoints_per_decade: int = 10
    images_seen: int = 4_000_000
    images_seen_small: int = 2_000_000
    sizes: tuple = (16, 64, 256, 1024, 4096, 16384)
    levels: tuple = tuple(sorted({*EDM_LEVELS, *CORE_LEVELS, 20.0}))
    n_test: int = 2000
    n_population: int = 24_000
    n_pairs: int = 500
    n_samples: int = 1024
    n_distil: int = 200_000
    n_steps: int = 18
    together: int = 4
    compile: bool = False

    @property
    def arch(self):
        """Name of the U-Net."""
        return f"unet-{self.width}"

    @property
    def largest(self):
        """The largest N, at which networks generalise."""
        return max(self.sizes)

    def compiles(self, config):
        """Whether a training is worth compiling: the time is paid once for each network."""
        return self.compile and config.arch == self.arch and config.kind == "edm"

    def config(self, n_images, subset=1, **changes):
        """Return the training of one network; `changes` are fields of `TrainConfig`."""
        from lindiff.nn.trainer import TrainConfig

        width = changes.pop("width", self.width)
        base = TrainConfig(
            arch=f"unet-{width}",
            data=self.data,
            n_images=n_images,
            images_seen=self.images_seen_small if n_images <= 256 else self.images_seen,
            subset=subset,
            size=self.size,
            batch=self.batch,
            learning_rate=self.learning_rate * (0.5 if width >= 48 else 1.0),
            warmup=self.warmup,
            checkpoints_per_decade=self.checkpoints_per_decade,
            first_checkpoint=self.first_checkpoint,
        )
        return replace(base, **changes)


_H200 = Plan(compile=True)
_FEW_LEVELS = (0.002, *CORE_LEVELS, 20.0, 42.415, 80.0)

PLANS = {
    "smoke": Plan(
        size=8,
        width=4,
        batch=64,
        learning_rate=3e-3,
        warmup=500,
        first_checkpoint=400,
        checkpoints_per_decade=4,
        images_seen=1_600,
        images_seen_small=1_600,
        sizes=(16, 64),
        levels=(0.002, 0.2, 0.5, 1.0, 20.0, 42.415, 80.0),
        n_test=64,
        n_population=500,
        n_pairs=32,
        n_samples=32,
        n_distil=512,
        n_steps=6,
    ),
    # Small batches and a high rate: copying of 16 images must show within 64,000 images.
    "cpu": Plan(
        size=16,
        width=8,
        batch=32,
        learning_rate=3e-3,
        warmup=5_000,
        first_checkpoint=2_000,
        images_seen=64_000,
        images_seen_small=64_000,
        sizes=(16, 256, 4096),
        levels=_FEW_LEVELS,
        n_test=1000,
        n_population=24_000,
        n_pairs=300,
        n_samples=256,
        n_distil=8_000,
    ),
    "t4": replace(
        _H200,
        width=16,
        batch=256,
        images_seen=1_000_000,
        images_seen_small=1_000_000,
        sizes=(16, 128, 1024, 8192),
        levels=_FEW_LEVELS,
        n_samples=512,
        n_distil=100_000,
        compile=False,
    ),
    # Ten minutes of one H100 or H200: smaller than `h200` in width, budget and sizes. The
    # largest two sizes are those that the criteria name.
    "h100-slice": replace(
        _H200,
        width=16,
        batch=256,
        images_seen=600_000,
        images_seen_small=1_000_000,
        sizes=(16, 64, 128, 4096, 16384),
        levels=_FEW_LEVELS,
        n_distil=50_000,
        compile=False,
    ),
    "h200": _H200,
}
