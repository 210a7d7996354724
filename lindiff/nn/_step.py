"""One training step on tensors that never move, so that a CUDA graph can repeat it."""

import copy
import math

import numpy as np
import torch

from lindiff.nn.noise_law import draw_sigma, weighted_loss

FLAT = ("weights", "ema", "exp_avg", "exp_avg_sq")


class Stepper:
    """The network, its optimizer and its random streams, and the step that advances them.

    All weights lie in one vector, as do the gradients and the averaged weights: Adam and the
    average are one operation each. `rank` and `world` say which share of every batch belongs
    to this process; the gradients of several are averaged by `DistributedDataParallel`.
    """

    def __init__(
        self,
        config,
        images,
        net,
        *,
        sigma_data,
        device,
        precision,
        channels_last=False,
        compiled=False,
        rank=0,
        world=1,
    ):
        if config.batch % world:
            raise ValueError(
                f"`batch` is {config.batch}: it must be a multiple of {world} processes"
            )
        self.config, self.images, self.device, self.world = config, images, device, world
        self.sigma_data, self.precision = sigma_data, precision
        share = config.batch // world
        self.share = slice(rank * share, (rank + 1) * share)
        self.channels_last = channels_last
        self.net = net.to(device).train()
        self.ema_net = copy.deepcopy(self.net).eval().requires_grad_(False)
        self._flatten()
        self.forward = torch.compile(self.net) if compiled else self.net
        if world > 1:
            self.forward = self._in_parallel()
        self.generators = [_generator(config.seed_noise, stream, device) for stream in (0, 1)]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def _flatten(self):
        parameters = list(self.net.parameters())
        n = sum(_slot(parameter) for parameter in parameters)
        zeros = {"dtype": torch.float32, "device": self.device}
        self.weights = torch.nn.Parameter(torch.zeros(n, **zeros))
        self.ema = torch.zeros(n, **zeros)
        self.gradient = torch.zeros(n, **zeros)
        self.weights.grad = self.gradient
        self.exp_avg, self.exp_avg_sq = torch.zeros(n, **zeros), torch.zeros(n, **zeros)
        for net, flat in ((self.net, self.weights.data), (self.ema_net, self.ema)):
            views = self._views(flat)
            for parameter, view in zip(net.parameters(), views, strict=True):
                view.copy_(parameter.data)
                parameter.data = view
        self.gradients = self._views(self.weights.grad)
        self.steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.finite = torch.zeros_like(self.steps)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.rate = torch.zeros((), **zeros)
        self.optimizer = torch.optim.Adam(
            [self.weights],
            lr=self.rate,
            betas=self.config.betas,
            fused=True,
        )
        self.optimizer.state[self.weights] = {
            "step": torch.zeros((), **zeros),
            "exp_avg": self.exp_avg,
            "exp_avg_sq": self.exp_avg_sq,
        }

    def _in_parallel(self):
        """The network in a `DistributedDataParallel`, with the gradients where Adam finds them."""
        for parameter, view in zip(self.net.parameters(), self.gradients, strict=True):
            parameter.grad = view
        devices = None if self.device.type == "cpu" else [self.device]
        return torch.nn.parallel.DistributedDataParallel(
            self.net, device_ids=devices, find_unused_parameters=True
        )

    def _views(self, flat):
        """Parts of a vector in the shapes of the parameters."""
        views, start = [], 0
        for parameter in self.net.parameters():
            part = flat[start : start + parameter.numel()]
            start += _slot(parameter)
            if self.channels_last and parameter.dim() == 4:
                out, inner, height, width = parameter.shape
                views.append(part.view(out, height, width, inner).permute(0, 3, 1, 2))
            else:
                views.append(part.view(parameter.shape))
        return views

    def step(self):
        """One step: draw a batch, the loss, its gradient, Adam, the averaged weights."""
        clean, sigma, noise = self.draw()
        noisy = clean + sigma[:, None, None, None] * noise
        if self.channels_last:
            noisy = noisy.to(memory_format=torch.channels_last)
        with torch.autocast(
            self.device.type,
            torch.float16 if self.precision == "fp16" else torch.bfloat16,
            enabled=self.precision != "fp32",
            cache_enabled=False,
        ):
            denoised = self.forward(noisy, sigma)
        loss = weighted_loss(denoised, clean, self.net.weight(sigma))
        self._differentiate(self.scaler.scale(loss))
        with torch.no_grad():
            self._update(loss.detach())

    def _differentiate(self, loss):
        if self.world > 1:
            self.gradient.zero_()
            loss.backward()  # Into the views, averaged over the processes on the way.
            return
        gradients = torch.autograd.grad(
            loss, list(self.net.parameters()), allow_unused=True, materialize_grads=True
        )
        with torch.no_grad():
            torch._foreach_copy_(self.gradients, list(gradients))

    def _update(self, loss):
        config = self.config
        if self.world > 1:
            torch.distributed.all_reduce(loss)
            loss.div_(self.world)
        self.loss_sum.add_(loss)
        self.finite.add_(torch.isfinite(self.loss_sum))
        self.steps.add_(1)
        seen = self.steps.double() * config.batch
        share = (seen / max(config.warmup, 1)).clamp(max=1.0)
        self.rate.copy_(config.learning_rate * share)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        halvings = config.batch / (config.ema_halflife * seen)
        self.ema.lerp_(self.weights.data, (-torch.expm1(-math.log(2) * halvings)).float())

    def draw(self):
        """Clean images (share, 1, h, w), noise levels and noise of this process's share.

        Every process draws the whole batch. Levels and noise come from a stream of their own:
        trainings that differ in their images only see the same ones.
        """
        batch, device = self.config.batch, self.device
        for_images, for_noise = self.generators
        indices = torch.randint(self.images.n, (batch,), generator=for_images, device=device)
        sigma = draw_sigma(self.config.sigma_law, batch, generator=for_noise, device=device)
        shape = (batch, 1, self.images.size, self.images.size)
        noise = torch.randn(shape, generator=for_noise, device=device)
        clean = self.images.take(indices[self.share])
        return clean, sigma[self.share], noise[self.share]

    def tensors(self):
        """All that the next step depends on, by name; weights in the shapes of the network."""
        names = [name for name, _ in self.net.named_parameters()]
        found = {}
        for kind in FLAT:
            views = self._views(getattr(self, kind).detach())
            found.update((f"{kind}/{name}", view) for name, view in zip(names, views, strict=True))
        for kind in ("steps", "finite", "loss_sum"):
            found[kind] = getattr(self, kind)
        found["adam_step"] = self.optimizer.state[self.weights]["step"]
        for index, generator in enumerate(self.generators):
            found[f"generator/{index}"] = generator.get_state()
        if self.scaler.is_enabled():
            state = self.scaler.state_dict()
            found["scaler"] = torch.tensor([state["scale"], state["_growth_tracker"]])
        return found

    def load(self, tensors):
        """Take over what `tensors` returned, in place."""
        for name, tensor in self.tensors().items():
            if not name.startswith("generator/") and name != "scaler":
                with torch.no_grad():
                    tensor.copy_(tensors[name])
        for index, generator in enumerate(self.generators):
            generator.set_state(tensors[f"generator/{index}"].cpu())
        if self.scaler.is_enabled():
            scale, tracker = tensors["scaler"].tolist()
            state = {"scale": scale, "_growth_tracker": int(tracker)}
            self.scaler.load_state_dict({**self.scaler.state_dict(), **state})


def _slot(parameter):
    """Entries kept for a parameter: every one starts at a multiple of 64 bytes."""
    return -(-parameter.numel() // 16) * 16


def _generator(seed, stream, device):
    number = int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(number)
