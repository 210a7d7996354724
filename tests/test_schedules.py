import dataclasses

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from lindiff import schedules

FACTORIES = {
    "linear": lambda: schedules.linear_beta(200),
    "cosine": lambda: schedules.cosine(200),
    "ou": lambda: schedules.ornstein_uhlenbeck(np.geomspace(1e-12, 20.0, 60), 0.3),
    "karras": lambda: schedules.karras(40),
}


@pytest.fixture(params=FACTORIES, name="schedule")
def _schedule(request):
    return FACTORIES[request.param]()


def exact(function):
    with mpmath.workdps(50):
        return np.array([float(v) for v in function()])


def test_linear_beta_against_fifty_digits():
    def powers():
        beta = [mpmath.mpf(float(b)) for b in np.linspace(1e-4, 2e-2, 1000)]
        product = mpmath.mpf(1)
        for b in beta:
            product *= 1 - b
            yield product, 1 - product

    schedule = schedules.linear_beta()
    assert_allclose(schedule.alpha_bar, exact(lambda: [p for p, _ in powers()]), rtol=2e-14)
    assert_allclose(schedule.noise_var, exact(lambda: [q for _, q in powers()]), rtol=2e-14)
    assert_allclose(schedule.beta, np.linspace(1e-4, 2e-2, 1000), rtol=1e-9)


def test_noise_recursion_of_single_steps():
    schedule = schedules.linear_beta(500)
    signal, variance = 1.0, 0.0
    for beta, level in zip(np.linspace(1e-4, 2e-2, 500), range(500), strict=True):
        signal, variance = signal * np.sqrt(1 - beta), (1 - beta) * variance + beta
        assert_allclose(schedule.signal[level], signal, rtol=1e-12)
        assert_allclose(schedule.noise[level] ** 2, variance, rtol=1e-12)


def test_published_values_of_the_linear_schedule():
    merger_goldt = schedules.linear_beta(1000, 1.099e-4, 1e-2).alpha_bar
    published = [0.99989, 0.99846, 0.98253, 0.94175, 0.80320, 0.27468, 0.01630, 0.006271]
    places = np.array([1, 10, 50, 100, 200, 500, 900, 1000]) - 1
    assert_allclose(merger_goldt[places], published, rtol=5e-4)
    assert_allclose(schedules.linear_beta().alpha_bar[-1], 4.0e-5, rtol=0.02)


def test_cosine_against_its_definition_and_its_cap():
    n_steps, offset = 100, 0.008
    time = np.arange(n_steps) / n_steps
    power = np.cos(0.5 * np.pi * (time + offset) / (1 + offset)) ** 2
    schedule = schedules.cosine(n_steps, offset)
    assert_allclose(schedule.alpha_bar[:-1], power[1:] / power[0], rtol=1e-12)
    assert_allclose(schedule.beta[-1], 0.999, rtol=1e-12)
    assert_allclose(schedules.cosine(1).alpha_bar, [0.001], rtol=1e-12)
    assert_allclose(schedules.cosine().sigma, schedules.cosine(1000, 0.008).sigma, rtol=0)


def test_cosine_first_step_is_accurate():
    def first():
        scale = mpmath.pi / 2 / (1 + mpmath.mpf(0.008))
        begin, end = scale * mpmath.mpf(0.008), scale * (mpmath.mpf(0.008) + mpmath.mpf(10) ** -6)
        return [1 - mpmath.cos(end) ** 2 / mpmath.cos(begin) ** 2]

    assert_allclose(schedules.cosine(10**6).beta[:1], exact(first), rtol=1e-11)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_ornstein_uhlenbeck_against_fifty_digits(scale):
    times = np.geomspace(1e-14, 30.0, 40)
    schedule = schedules.ornstein_uhlenbeck(times, scale)
    with mpmath.workdps(50):
        sigma_squared = [scale * (mpmath.exp(2 * mpmath.mpf(float(t))) - 1) for t in times]
        noise_var = [float(s / (1 + s)) for s in sigma_squared]
        alpha_bar = [float(1 / (1 + s)) for s in sigma_squared]
    assert_allclose(schedule.noise_var, noise_var, rtol=1e-13)
    assert_allclose(schedule.alpha_bar, alpha_bar, rtol=1e-13)
    if scale == 1.0:
        assert_allclose(schedule.alpha_bar, np.exp(-2 * times), rtol=1e-13)
        assert_allclose(schedule.signal**2 + schedule.noise**2, 1.0, rtol=1e-13)


def test_ornstein_uhlenbeck_times_compose():
    first, both = schedules.ornstein_uhlenbeck([0.3, 0.8], 2.0), 0.5
    step = schedules.ornstein_uhlenbeck([both], 2.0)
    assert_allclose(step.signal[0] * first.signal[0], first.signal[1])
    assert_allclose(
        step.signal[0] ** 2 * first.noise[0] ** 2 + step.noise[0] ** 2, first.noise[1] ** 2
    )


def test_karras_ends_and_spacing():
    levels = schedules.karras(18)
    assert levels.sigma[0] == 0.002 and levels.sigma[-1] == 80.0
    assert_allclose(np.diff(levels.sigma ** (1 / 7.0), n=2), 0.0, atol=1e-13)
    assert schedules.karras(1).sigma.tolist() == [80.0]


def test_both_coordinates_give_the_same_numbers(schedule):
    for other in (schedule.as_vp(), schedule.as_ve(), schedule.as_ve().as_vp()):
        for name in ("sigma", "alpha_bar", "noise_var"):
            assert_allclose(getattr(other, name), getattr(schedule, name), rtol=1e-15)
    assert_allclose(schedule.as_vp().signal ** 2, schedule.alpha_bar, rtol=1e-15)
    assert np.all(schedule.as_ve().signal == 1.0)
    survive = np.cumprod(1.0 - schedule.beta)
    # A beta that rounds to 1 has lost what is left of the signal.
    kept = schedule.alpha_bar > 1e-3
    assert_allclose(survive[kept], schedule.alpha_bar[kept], rtol=1e-11)


def test_nothing_cancels_at_small_noise():
    sigma = np.array([1e-170, 1e-30, 1e-9, 1e-3])
    schedule = schedules.NoiseSchedule(np.ones(4), sigma)
    assert_allclose(schedule.noise_var[1:], sigma[1:] ** 2 / (1 + sigma[1:] ** 2), rtol=1e-15)
    assert_allclose(schedule.as_vp().noise[0], 1e-170, rtol=1e-15)
    assert schedules.alpha_bar_to_sigma(1.0) == 0.0
    with mpmath.workdps(50):
        level = mpmath.mpf(0.99999)
        expected = float(mpmath.sqrt((1 - level) / level))
    assert_allclose(schedules.alpha_bar_to_sigma(0.99999), expected, rtol=1e-15)


def test_huge_noise_does_not_overflow():
    assert_allclose(schedules.sigma_to_alpha_bar(1e150), 1e-300, rtol=1e-14)
    assert schedules.sigma_to_alpha_bar(1e300) == 0.0
    assert schedules.ornstein_uhlenbeck([700.0]).noise_var[0] == 1.0


def test_conversions_are_inverse():
    sigma = np.geomspace(1e-3, 1e3, 50)
    back = schedules.alpha_bar_to_sigma(schedules.sigma_to_alpha_bar(sigma))
    assert_allclose(back, sigma, rtol=1e-9)
    assert type(schedules.sigma_to_alpha_bar(2.0)) is float
    assert type(schedules.alpha_bar_to_sigma(0.5)) is float


def test_subset(schedule):
    part = schedule.subset([0, 3, len(schedule) - 1])
    assert part.n_levels == len(part) == 3
    assert_allclose(part.sigma, schedule.sigma[[0, 3, -1]], rtol=0)
    assert len(schedule.subset(slice(0, 5))) == 5
    assert len(schedule.subset(schedule.sigma > 0.5)) == np.sum(schedule.sigma > 0.5)
    with pytest.raises(ValueError, match="increasing"):
        schedule.subset([3, 1])
    with pytest.raises(ValueError, match="increasing"):
        schedule.subset([1, 1])
    for bad in ([0.5, 1.0], 2, [[0, 1]]):
        with pytest.raises(TypeError, match="indices"):
            schedule.subset(bad)


def test_time_samples_the_same_process_again(schedule):
    """Discrete steps and the continuous process at `time` give the same levels."""
    again = schedules.ornstein_uhlenbeck(schedule.time)
    for name in ("sigma", "alpha_bar", "noise_var"):
        # The signal exp(-t) carries the rounding of t, hence the factor.
        bound = 1e-14 * max(1.0, schedule.time[-1])
        assert_allclose(getattr(again, name), getattr(schedule, name), rtol=bound)


def test_time_is_accurate_at_both_ends():
    sigma = np.array([0.0, 1e-160, 1e-9, 1.0, 1e9, 1e99, 1e101, 1e300])
    with mpmath.workdps(700):
        want = [float(mpmath.log(1 + mpmath.mpf(s) ** 2) / 2) for s in sigma]
    got = schedules.NoiseSchedule(np.ones(8), sigma).time
    assert_allclose(got, want, rtol=1e-15, atol=1e-319)


def test_thin_keeps_the_noisiest_and_even_gaps():
    schedule = schedules.linear_beta(1000)
    assert_allclose(schedule.thin(20).sigma, schedule.sigma[49::50], rtol=0)
    assert_allclose(schedule.thin(1000).sigma, schedule.sigma, rtol=0)
    assert schedule.thin(1).sigma == schedule.sigma[-1:]
    for n_levels in (3, 7, 999):
        place = np.searchsorted(schedule.sigma, schedule.thin(n_levels).sigma) + 1
        assert_allclose(place, np.arange(1, n_levels + 1) * 1000 / n_levels, atol=0.5)
    for bad, error in ((0, ValueError), (1001, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="n_levels"):
            schedule.thin(bad)


def test_schedule_is_frozen_and_owns_its_arrays():
    noise = np.array([0.1, 0.2])
    schedule = schedules.NoiseSchedule([1.0, 1.0], noise)
    noise[0] = 7.0
    assert schedule.noise[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        schedule.noise[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.noise = noise


@pytest.mark.parametrize(
    ("signal", "noise", "word"),
    [
        ([1.0], [0.1, 0.2], "common length"),
        ([1.0, 1.0], [0.1], "common length"),
        ([], [], "common length"),
        ([0.0], [0.1], "signal"),
        ([1.0], [-0.1], "noise"),
        ([1.0, 1.0], [0.2, 0.1], "increasing"),
        ([1.0, 1.0], [0.1, 0.1], "increasing"),
        ([np.nan], [0.1], "signal"),
        ([1e-300], [1e300], "overflows"),
        ([[1.0]], [[0.1]], "axes"),
    ],
)
def test_bad_levels(signal, noise, word):
    with pytest.raises(ValueError, match=word):
        schedules.NoiseSchedule(signal, noise)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: schedules.linear_beta(0), "n_steps"),
        (lambda: schedules.linear_beta(10, beta_start=0.0), "beta_start"),
        (lambda: schedules.linear_beta(10, beta_start=-0.1), "beta_start"),
        (lambda: schedules.linear_beta(10, beta_end=1.0), "beta_end"),
        (lambda: schedules.linear_beta(10, beta_end=1.5), "beta_end"),
        (lambda: schedules.cosine(10, offset=-0.1), "offset"),
        (lambda: schedules.cosine(10, max_beta=1.0), "max_beta"),
        (lambda: schedules.cosine(10, max_beta=1.5), "max_beta"),
        (lambda: schedules.cosine(10, max_beta=0.0), "max_beta"),
        (lambda: schedules.cosine(10, max_beta=-0.1), "max_beta"),
        (lambda: schedules.ornstein_uhlenbeck([-0.1, 1.0]), "times"),
        (lambda: schedules.ornstein_uhlenbeck([1.0, 1.0]), "increasing"),
        (lambda: schedules.ornstein_uhlenbeck([700.5]), "times"),
        (lambda: schedules.ornstein_uhlenbeck([1.0], 0.0), "noise_scale"),
        (lambda: schedules.karras(5, 1.0, 1.0), "sigma_min"),
        (lambda: schedules.karras(5, 2.0, 1.0), "sigma_min"),
        (lambda: schedules.karras(5, rho=0.0), "rho"),
        (lambda: schedules.alpha_bar_to_sigma(1.5), "alpha_bar"),
        (lambda: schedules.sigma_to_alpha_bar(-1.0), "sigma"),
        (lambda: schedules.linear_beta(3000, 0.5, 0.9), "`betas` leave no signal"),
        (lambda: schedules.from_betas([]), "`betas`"),
        (lambda: schedules.from_betas([0.0, 0.1]), "`betas`"),
        (lambda: schedules.from_betas([0.1, 1.0]), "`betas` .* beta = 1 has no signal"),
        (lambda: schedules.from_betas(0.1), "`betas`"),
        (lambda: schedules.from_alpha_bars([]), "`alpha_bars`"),
        (lambda: schedules.from_alpha_bars([0.5, 0.0]), "`alpha_bars`"),
        (lambda: schedules.from_alpha_bars([1.1, 0.5]), "`alpha_bars`"),
        (lambda: schedules.from_alpha_bars([0.5, 0.5]), "`alpha_bars` must decrease"),
        (lambda: schedules.from_alpha_bars([0.5, 0.6]), "`alpha_bars` must decrease"),
        (lambda: schedules.from_alpha_bars(0.5), "`alpha_bars`"),
        (lambda: schedules.from_sigmas([]), "`sigmas`"),
        (lambda: schedules.from_sigmas([-1.0, 1.0]), "`sigmas`"),
        (lambda: schedules.from_sigmas([1.0, 0.5, 0.0]), "`sigmas` must increase"),
        (lambda: schedules.from_sigmas([1.0, 1.0]), "`sigmas` must increase"),
        (lambda: schedules.linear_beta(5).subset([]), "`indices` is empty"),
    ],
)
def test_bad_arguments(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_lists_give_the_schedules_they_come_from(schedule):
    again, beta = schedules.from_betas(schedule.beta), schedule.beta
    # A beta close to 1 itself says little about 1 - beta.
    bound = 1e-12 + np.finfo(float).eps * np.cumsum(1.0 / (1.0 - beta))
    assert np.all(np.abs(again.sigma / schedule.sigma - 1.0) < bound)
    assert_allclose(again.signal**2 + again.noise**2, 1.0, rtol=1e-15)
    again = schedules.from_sigmas(schedule.sigma)
    assert np.array_equal(again.sigma, schedule.sigma) and np.all(again.signal == 1.0)
    keep = schedule.noise_var > 1e-3
    again = schedules.from_alpha_bars(schedule.alpha_bar[keep])
    assert_allclose(again.sigma, schedule.sigma[keep], rtol=1e-12)
    assert_allclose(again.signal**2 + again.noise**2, 1.0, rtol=1e-15)


def test_one_level_and_a_clean_one():
    assert schedules.from_alpha_bars([1.0, 0.2]).sigma.tolist() == [0.0, 2.0]
    assert schedules.from_sigmas([0.0]).alpha_bar.tolist() == [1.0]
    assert_allclose(schedules.from_betas([0.75]).sigma, np.sqrt(3.0), rtol=1e-15)


def test_smallest_alpha_bar_has_a_finite_level():
    with mpmath.workdps(40):
        expected = float(1 / mpmath.sqrt(mpmath.mpf(5e-324)))
    assert_allclose(schedules.alpha_bar_to_sigma(5e-324), expected, rtol=1e-15)
    assert_allclose(schedules.alpha_bar_to_sigma([5e-324, 1.0]), [expected, 0.0], rtol=1e-15)


def test_add_noise_has_the_kernel_law():
    rng = np.random.default_rng(1)
    x = schedules.add_noise(np.full((40000, 1), 2.0), 0.6, 0.8, rng)[:, 0]
    assert stats.kstest(x, stats.norm(1.2, 0.8).cdf).pvalue > 1e-3
    assert stats.kstest(x, stats.norm(1.2, 0.84).cdf).pvalue < 1e-3


def test_add_noise_is_the_clean_point_plus_the_drawn_noise():
    x0, drawn = np.arange(6.0).reshape(2, 3), np.random.default_rng(3).standard_normal((2, 3))
    x = schedules.add_noise(x0, 0.6, 0.8, np.random.default_rng(3))
    assert_allclose(x, 0.6 * x0 + 0.8 * drawn, rtol=1e-15)


def test_add_noise_takes_one_level_per_point():
    noise = np.array([[0.0], [1.0]])
    x = schedules.add_noise(np.ones((2, 3)), 1.0, noise, np.random.default_rng(0))
    assert np.all(x[0] == 1.0) and np.all(x[1] != 1.0)
    for bad in (np.ones(2), np.ones((2, 2, 3)), np.ones((3, 1, 1))):
        with pytest.raises(ValueError, match="noise"):
            schedules.add_noise(np.ones((2, 3)), 1.0, bad, np.random.default_rng(0))
    with pytest.raises(TypeError, match="rng"):
        schedules.add_noise(np.ones(3), 1.0, 1.0, 0)
