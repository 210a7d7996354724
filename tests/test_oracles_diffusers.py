"""The samplers against the schedulers of diffusers, run on our affine denoiser.

The tables of diffusers are in single precision. Most tests give it ours in double
precision, so that the rule itself is compared; one says what its own tables cost.
"""

import numpy as np
import pytest

from lindiff import schedules
from lindiff.denoisers import AffineDenoiser
from lindiff.sampling import affine_moments, sample

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
ddpm_module = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

T = 1000
N, D = 7, 5
START, END = 1e-4, 2e-2


def _denoiser():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    cov = turn @ np.diag([9.0, 1.0, 0.1, 1e-3, 0.0]) @ turn.T
    return AffineDenoiser.from_moments(rng.standard_normal(D), cov)


def _noise_prediction(denoiser, x, sigma):
    """Noise seen at `x` = clean + sigma noise."""
    return torch.from_numpy((x - denoiser.denoise(x, sigma)) / sigma)


def _run_vp(scheduler, schedule, x, rng, *, eta=None, double=True):
    """Run DDIM or DDPM from VP points `x`; noise comes from `rng` in the order of `sample`."""
    denoiser, level = _denoiser(), schedule.alpha_bar
    if double:
        _in_double(scheduler, level)
    places = scheduler.timesteps.tolist()
    for place in places:
        a = float(scheduler.alphas_cumprod[place])
        signal, sigma = np.sqrt(a), np.sqrt((1 - a) / a)
        noise = _noise_prediction(denoiser, x / signal, sigma)
        options = {}
        if eta:
            drawn = rng.standard_normal(x.shape) if place != places[-1] else np.zeros(x.shape)
            options = {"eta": eta, "variance_noise": torch.from_numpy(drawn)}
        x = scheduler.step(noise, place, torch.from_numpy(x), **options).prev_sample.numpy()
    return x


def _in_double(scheduler, alpha_bar):
    scheduler.alphas_cumprod = torch.from_numpy(alpha_bar.copy())
    one = torch.tensor(1.0, dtype=torch.float64)
    scheduler.final_alpha_cumprod = scheduler.one = one


def _ddim(n_levels=T):
    scheduler = diffusers.DDIMScheduler(
        T, START, END, clip_sample=False, timestep_spacing="trailing", rescale_betas_zero_snr=False
    )
    scheduler.set_timesteps(n_levels)
    return scheduler


def _ddpm(variance, n_levels=T):
    scheduler = diffusers.DDPMScheduler(
        T, START, END, variance_type=variance, clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(n_levels)
    return scheduler


@pytest.mark.parametrize("n_levels", [T, 50])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_with_any_eta(eta, n_levels):
    full = schedules.linear_beta(T, START, END)
    ours = sample(_denoiser(), full.thin(n_levels), N, np.random.default_rng(1), eta=eta)
    rng = np.random.default_rng(1)
    x = _run_vp(_ddim(n_levels), full, rng.standard_normal((N, D)), rng, eta=eta)
    np.testing.assert_allclose(x, ours, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n_levels", [T, 50])
@pytest.mark.parametrize(
    ("variance", "solver"), [("fixed_small", "ddpm"), ("fixed_large", "ddpm-beta")]
)
def test_ddpm_with_both_variances(variance, solver, n_levels, monkeypatch):
    full = schedules.linear_beta(T, START, END)
    schedule = full.thin(n_levels)
    ours = sample(_denoiser(), schedule, N, np.random.default_rng(2), solver=solver)
    rng = np.random.default_rng(2)
    x, calls = rng.standard_normal((N, D)), []

    def noise_of_numpy(shape, **_):
        # diffusers draws noise at place 0 only; thinned levels end above it.
        calls.append(shape)
        last = len(calls) == n_levels
        return torch.from_numpy(np.zeros(shape) if last else rng.standard_normal(shape))

    monkeypatch.setattr(ddpm_module, "randn_tensor", noise_of_numpy)
    x = _run_vp(_ddpm(variance, n_levels), full, x, rng)
    np.testing.assert_allclose(x, ours, rtol=1e-11, atol=1e-11)
    assert len(calls) == (n_levels - 1 if n_levels == T else n_levels)


def test_law_of_ddim_from_probes():
    """An affine map is known from its values at d + 1 points: the law, without any noise."""
    full, denoiser = schedules.linear_beta(T, START, END), _denoiser()
    probes = np.concatenate([np.zeros((1, D)), np.eye(D)])
    for double, bound in ((True, 1e-11), (False, 1e-5)):
        ends = _run_vp(_ddim(), full, probes, None, double=double)
        matrix = (ends[1:] - ends[0]).T
        law = affine_moments(denoiser, full)
        np.testing.assert_allclose(ends[0], law.mean, rtol=bound, atol=bound)
        np.testing.assert_allclose(matrix @ matrix.T, law.covariance, rtol=bound, atol=bound)


def _heun(sigma):
    scheduler = diffusers.HeunDiscreteScheduler(T, START, END)
    scheduler.set_timesteps(len(sigma))
    falling = torch.from_numpy(sigma[::-1].copy())
    zero = torch.zeros(1, dtype=torch.float64)
    scheduler.sigmas = torch.cat([falling[:1], falling[1:].repeat_interleave(2), zero])
    return scheduler


@pytest.mark.parametrize("levels", ["karras", "linear"])
def test_heun(levels):
    schedule = {
        "karras": schedules.karras(18),
        "linear": schedules.linear_beta(T, START, END).thin(30),
    }[levels]
    denoiser, scheduler = _denoiser(), _heun(schedule.sigma)
    u = np.random.default_rng(3).standard_normal((N, D))
    ours = sample(denoiser, schedule, N, np.random.default_rng(0), solver="heun", start=u)
    x = torch.from_numpy(u / np.sqrt(schedule.alpha_bar[-1]))
    for sigma, place in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
        x = scheduler.step(_noise_prediction(denoiser, x.numpy(), sigma), place, x).prev_sample
    np.testing.assert_allclose(x.numpy(), ours, rtol=1e-11, atol=1e-11)


def test_heun_with_karras_levels_of_its_own():
    scheduler = diffusers.HeunDiscreteScheduler(T, START, END, use_karras_sigmas=True)
    scheduler.set_timesteps(18)
    theirs = np.append(scheduler.sigmas[0], scheduler.sigmas[1:-1:2]).astype(float)[::-1]
    # The ends are theirs: 1 - alpha_bar in single precision is off by 2e-4 at the lower one.
    grid = schedules.karras(18, theirs[0], theirs[-1])
    np.testing.assert_allclose(theirs, grid.sigma, rtol=1e-6)
    full = schedules.linear_beta(T, START, END)
    np.testing.assert_allclose(theirs[[0, -1]], full.sigma[[0, -1]], rtol=2e-4)
    probes = np.concatenate([np.zeros((1, D)), np.eye(D)]) / np.sqrt(grid.alpha_bar[-1])
    x, denoiser = torch.from_numpy(probes), _denoiser()
    for sigma, place in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
        x = scheduler.step(_noise_prediction(denoiser, x.numpy(), sigma), place, x).prev_sample
    matrix = (x[1:] - x[0]).numpy().T
    law = affine_moments(denoiser, grid, solver="heun")
    np.testing.assert_allclose(x[0].numpy(), law.mean, rtol=1e-6)
    np.testing.assert_allclose(matrix @ matrix.T, law.covariance, rtol=1e-6, atol=1e-6)


def test_edm_euler_and_its_levels():
    """Its step works in single precision whatever the tables."""
    scheduler, denoiser = diffusers.EDMEulerScheduler(), _denoiser()
    scheduler.set_timesteps(40)
    grid = schedules.karras(40)
    np.testing.assert_allclose(scheduler.sigmas[:-1].numpy()[::-1], grid.sigma, rtol=2e-6)
    u = np.random.default_rng(4).standard_normal((N, D))
    ours = sample(denoiser, grid, N, np.random.default_rng(0), solver="euler", start=u)
    x = torch.from_numpy(u / np.sqrt(grid.alpha_bar[-1]))
    for sigma, place in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
        clean = torch.from_numpy(denoiser.denoise(x.numpy(), sigma))
        scheduler.scale_model_input(x, place)
        x = scheduler.step(x, place, x, pred_original_sample=clean).prev_sample
    np.testing.assert_allclose(x.numpy(), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules_of_their_tables(beta_schedule):
    theirs = diffusers.DDPMScheduler(T, START, END, beta_schedule=beta_schedule)
    bars = theirs.alphas_cumprod.numpy()
    # Their running product is in single precision, and so is the table.
    ours = schedules.from_betas(theirs.betas)
    np.testing.assert_allclose(ours.alpha_bar, bars, rtol=1e-4)
    # Their betas start with 1e-4, known to 6e-8 relative; 1 - alpha_bar of the table is not.
    first = float(theirs.betas[0])
    np.testing.assert_allclose(ours.noise_var[0], first, rtol=1e-12)
    from_bars = schedules.from_alpha_bars(bars)
    assert np.array_equal(from_bars.signal**2, np.sqrt(bars.astype(float)) ** 2)
    np.testing.assert_allclose(from_bars.noise_var[0], first, rtol=6e-8 / first)
    euler = diffusers.EulerDiscreteScheduler(T, START, END, beta_schedule=beta_schedule)
    euler.set_timesteps(30)
    levels = schedules.from_sigmas(euler.sigmas.numpy()[-2::-1])
    at = euler.timesteps.numpy()[::-1]
    np.testing.assert_allclose(
        levels.sigma, np.interp(at, np.arange(T), ours.sigma), rtol=2e-3 if at[0] == 0 else 1e-4
    )


def test_tables_of_the_schedules():
    theirs = diffusers.DDPMScheduler(T, START, END).alphas_cumprod.numpy()
    np.testing.assert_allclose(theirs, schedules.linear_beta(T, START, END).alpha_bar, rtol=2e-4)
    theirs = diffusers.DDPMScheduler(T, beta_schedule="squaredcos_cap_v2").alphas_cumprod.numpy()
    np.testing.assert_allclose(theirs, schedules.cosine(T).alpha_bar, rtol=2e-4)
