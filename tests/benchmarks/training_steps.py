"""Training steps to compare: ours, naive ones, and several models at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from lindiff.nn._device import numerics
from lindiff.nn._graphs import GraphedStep
from lindiff.nn._step import Stepper
from lindiff.nn.build import build
from lindiff.nn.noise_law import draw_sigma, weighted_loss
from lindiff.nn.trainer import TrainConfig
from tests.benchmarks.measure import Missing

EMA_DECAY = 0.999
DIFFUSERS_WIDTHS = (32, 64, 128)


@dataclass(frozen=True)
class Way:
    """A way to train: `run(k)` queues k steps of `images` images each."""

    name: str
    run: Callable
    images: int
    gflop: float = 0.0


def repeated(step, ours_on=None, kept=None):
    """Return what runs a step k times, with the trainer's arithmetic if its device is named.

    `kept` lives as long: a recorded step reads its memory without holding it.
    """

    def run(k):
        for _ in range(k):
            step()

    def run_ours(k, kept=kept):
        with numerics(ours_on):
            run(k)

    return run if ours_on is None else run_ours


def stepper(images, arch, batch, *, precision="bf16", compiled=False, seed=0):
    """Return the trainer's step object for a network on these images."""
    config = TrainConfig(
        arch=arch,
        data="toyfaces",
        n_images=images.n,
        images_seen=10**9,
        size=images.size,
        batch=batch,
        precision=precision,
        seed_weights=seed,
        seed_noise=seed,
    )
    net = build(arch, size=images.size, sigma_data=images.std, seed=seed)
    return Stepper(
        config,
        images,
        net,
        sigma_data=images.std,
        device=images.device,
        precision=precision,
        compiled=compiled,
    )


def ours(images, arch, batch, way):
    """Return one of our ways: "eager, fp32", "eager, bf16", "graph", "compile and graph"."""
    graphed = "graph" in way
    if graphed and images.device.type != "cuda":
        raise Missing("a CUDA graph needs a CUDA device")
    # Another batch size would otherwise be compiled for any size, which is slower.
    torch.compiler.reset()
    made = stepper(
        images,
        arch,
        batch,
        precision="fp32" if "fp32" in way else "bf16",
        compiled="compile" in way,
    )
    step = made.step
    if graphed:
        with numerics(images.device):
            step = GraphedStep(made, torch.cuda.Stream(images.device))
    return repeated(step, images.device, made)


def naive(images, arch, batch):
    """Return the plain way: float32, eager, DataLoader over float images on the CPU."""
    device = images.device
    net = build(arch, size=images.size, sigma_data=images.std, seed=0).to(device)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.99))
    pixels = images.to("cpu").flat().reshape(-1, 1, images.size, images.size)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(pixels), batch, shuffle=True, drop_last=True
    )
    generator = torch.Generator(device).manual_seed(0)

    def batches():
        while True:
            yield from loader

    stream = batches()

    def step():
        clean = next(stream)[0].to(device)
        sigma = draw_sigma("edm+tail", batch, generator=generator, device=device)
        noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
        loss = weighted_loss(net(noisy, sigma), clean, net.weight(sigma))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, value in net.state_dict().items():
                average[name].lerp_(value, 1 - EMA_DECAY)

    return repeated(step)


def diffusers_network(size):
    """Return the U-Net of diffusers, one block per level, attention at the coarsest."""
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise Missing("diffusers is not installed") from error
    return UNet2DModel(
        sample_size=size,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=DIFFUSERS_WIDTHS,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def diffusers_loop(images, batch, precision):
    """Return a plain loop around diffusers, with its data already on the device."""
    network = diffusers_network(images.size).to(images.device).train()
    from diffusers import DDPMScheduler

    scheduler, device = DDPMScheduler(1000), images.device
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step():
        clean = images.take(torch.randint(images.n, (batch,), device=device))
        noise = torch.randn_like(clean)
        times = torch.randint(1000, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            found = network(scheduler.add_noise(clean, noise, times), times).sample
        loss = functional.mse_loss(found.float(), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return repeated(step)


def streams(images, arch, batch, n_models):
    """Return several of our models, each a CUDA graph on a stream of its own."""
    if images.device.type != "cuda":
        raise Missing("streams and graphs need a CUDA device")
    with numerics(images.device):
        made = [stepper(images, arch, batch, seed=seed) for seed in range(n_models)]
        steps = [GraphedStep(each, torch.cuda.Stream(images.device)) for each in made]

    def step():
        for model in steps:
            model()

    return repeated(step, images.device, made)


class StackedStepper:
    """Several models with stacked weights: every convolution becomes a grouped one."""

    def __init__(self, images, arch, batch, n_models):
        self.images, self.batch, self.device = images, batch, images.device
        nets = [
            build(arch, size=images.size, sigma_data=images.std, seed=seed).to(self.device)
            for seed in range(n_models)
        ]
        self.net, self.n_models = nets[0], n_models
        stacked, _ = torch.func.stack_module_state(nets)
        self.weights = {name: value.detach() for name, value in stacked.items()}
        for value in self.weights.values():
            value.grad = torch.zeros_like(value)
        self.average = [value.clone() for value in self.weights.values()]
        rate = torch.tensor(1e-3, device=self.device)
        self.optimizer = torch.optim.Adam(
            list(self.weights.values()),
            lr=rate,
            betas=(0.9, 0.99),
            fused=True,
            capturable=self.device.type == "cuda",
        )
        self.generators = [torch.Generator(self.device).manual_seed(0)]
        self.gradient = torch.func.vmap(torch.func.grad(self._loss))

    def _loss(self, weights, clean, sigma, noise):
        noisy = clean + sigma[:, None, None, None] * noise
        denoised = torch.func.functional_call(self.net, weights, (noisy, sigma))
        return weighted_loss(denoised, clean, self.net.weight(sigma))

    def step(self):
        """One step of every model."""
        shape, device, generator = (self.n_models, self.batch), self.device, self.generators[0]
        n = self.n_models * self.batch
        indices = torch.randint(self.images.n, (n,), generator=generator, device=device)
        clean = self.images.take(indices).unflatten(0, shape)
        sigma = draw_sigma("edm+tail", n, generator=generator, device=device).reshape(shape)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            found = self.gradient(self.weights, clean, sigma, noise)
        values = list(self.weights.values())
        torch._foreach_copy_([value.grad for value in values], [found[k] for k in self.weights])
        self.optimizer.step()
        torch._foreach_lerp_(self.average, values, 1 - EMA_DECAY)

    def tensors(self):
        """A rehearsal before a recording may train: there is nothing to put back."""
        return {}

    def load(self, tensors):
        """Nothing, as `tensors` says."""


def stacked(images, arch, batch, n_models, graphed):
    """Return several models whose weights are stacked and mapped over."""
    if graphed and images.device.type != "cuda":
        raise Missing("a CUDA graph needs a CUDA device")
    with numerics(images.device):
        made = StackedStepper(images, arch, batch, n_models)
        step = made.step
        if graphed:
            step = GraphedStep(made, torch.cuda.Stream(images.device))
    return repeated(step, images.device, made)
