"""The whole range of the averages against many digits: finite and right, infinite, or an error."""

import mpmath
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lindiff import equivalents as eq

DIGITS = 1300
# What limits without noise are taken at: far below every double.
NOTHING = mpmath.mpf(10) ** -1100


class Exact:
    """The equation for kappa and the textbook formulas, which cancel, in many digits."""

    def __init__(self, values, counts, n, z, kept=1):
        self.values = [kept * mpmath.mpf(float(v)) for v in values]
        self.counts = [mpmath.mpf(float(m)) for m in counts]
        self.n, self.z = n, z
        self.kappa = z * self.root()
        self.model = [self.kappa * v + z for v in self.values]
        shares = [self.kappa * v / e for v, e in zip(self.values, self.model, strict=True)]
        self.stiffness = 1 - self.total(share**2 for share in shares) / n

    def total(self, terms):
        return mpmath.fsum(m * t for m, t in zip(self.counts, terms, strict=True))

    def root(self):
        """Root of the decreasing and convex function of x = kappa / z."""
        positive = [(m, v) for m, v in zip(self.counts, self.values, strict=True) if v > 0]
        excess = self.n - mpmath.fsum(m for m, _ in positive)

        def value(x):
            rest = mpmath.fsum(m / (1 + x * v) for m, v in positive)
            return excess + rest - self.n * self.z * x

        low, high = mpmath.mpf(-900), mpmath.mpf(1200)
        with mpmath.workdps(60):
            for _ in range(24):
                middle = (low + high) / 2
                low, high = (middle, high) if value(10**middle) > 0 else (low, middle)
        x = 10**low
        for _ in range(300):
            slope = mpmath.fsum(m * v / (1 + x * v) ** 2 for m, v in positive) + self.n * self.z
            step = value(x) / slope
            x += step
            if abs(step) < x * mpmath.mpf(10) ** (-DIGITS + 200):
                return x
        raise AssertionError("the reference did not converge")

    def trace(self, weights):
        return self.total(g / e for g, e in zip(weights, self.model, strict=True))

    def squared(self, weights):
        def spread(g):
            return self.total(
                a * v / e**2 for a, v, e in zip(g, self.values, self.model, strict=True)
            )

        ones = [mpmath.mpf(1)] * len(self.values)
        direct = self.total(g / e**2 for g, e in zip(weights, self.model, strict=True))
        factor = self.kappa**2 / (self.n * self.stiffness)
        return direct + factor * spread(weights) * spread(ones)

    def log_det(self):
        value = self.total(mpmath.log(e) for e in self.model)
        return value - self.n * (mpmath.log(self.kappa) + 1 - self.kappa)


def setting(values, counts, n, z, estimated):
    n = mpmath.mpf(float(n))
    if estimated:
        return Exact(values, counts, n - 1, z, 1 - 1 / n), 1 / n
    return Exact(values, counts, n, z), 0


def losses(values, counts, n, level, floor, other, estimated):
    """Every loss from traces; with an estimated mean its error counts as variance."""
    sigma2, floor, other = (mpmath.mpf(float(x)) for x in ((1 - level) / level, floor, other))
    if sigma2 + floor == 0 or sigma2 + other == 0:
        sigma2 = NOTHING
    (model, mean), (twin, twin_mean) = (
        setting(values, counts, k * n, sigma2 + c, estimated) for k, c in ((1, floor), (2, other))
    )
    population = [mpmath.mpf(float(v)) for v in values]
    ones = [mpmath.mpf(1)] * len(values)
    size, d = model.squared(ones), mpmath.fsum(model.counts)
    seen, twin_seen = model.squared(population), twin.squared(population)
    residual = d - sigma2 * model.trace(ones)
    training = residual - floor * sigma2 * size
    test = d - 2 * sigma2 * model.trace(ones) + sigma2 * ((1 + mean) * seen + sigma2 * size)
    best = [v + sigma2 + other for v in population]
    noised = [v + sigma2 for v in population]
    known = model.total(g / k**2 for g, k in zip(noised, best, strict=True))
    cross = model.trace([g / k for g, k in zip(noised, best, strict=True)])
    alignment = sigma2 * ((1 + mean) * seen + sigma2 * size - 2 * cross + known)
    pair = (1 + mean) * seen + (1 + twin_mean) * twin_seen
    pair += sigma2 * (size + twin.squared(ones))
    pair -= 2 * model.trace([g / e for g, e in zip(noised, twin.model, strict=True)])
    return {
        "residual": residual,
        "training": training,
        "test": test,
        "gap": test - training,
        "alignment": alignment,
        "pair": sigma2 * pair,
    }


CALLS = {
    "residual": lambda *a, other, **k: eq.residual_loss(*a, **k),
    "training": lambda *a, other, **k: eq.training_loss(*a, **k),
    "test": lambda *a, other, **k: eq.test_loss(*a, **k),
    "gap": lambda *a, other, **k: eq.gap(*a, **k),
    "alignment": lambda *a, other, **k: eq.alignment(*a, reference_floor=other, **k),
    "pair": lambda v, n, a, other, **k: eq.alignment_pair(v, n, 2 * n, a, floor_other=other, **k),
}


def compare(found, expected, scale=1, rtol=1e-10, name=""):
    """Right to ten digits of `scale`, or infinite where a double is."""
    assert type(found) is float and not np.isnan(found), name
    if abs(expected) > mpmath.mpf(10) ** 309:
        assert found == (np.inf if expected > 0 else -np.inf), name
    elif abs(expected) < mpmath.mpf(10) ** 305:
        limit = rtol * max(float(abs(expected)), scale * 1e-280)
        assert abs(found - float(expected)) <= limit, (name, found, float(expected))


spectra = st.lists(
    st.one_of(st.floats(-150, 150), st.sampled_from([-150.0, 0.0, 150.0, None])),
    min_size=1,
    max_size=4,
).map(lambda decades: np.array([0.0 if x is None else 10.0**x for x in decades]))
samples = st.one_of(st.integers(2, 6), st.floats(0.4, 9).map(lambda x: 10.0**x))
levels = st.sampled_from([1.0, 1 - 2**-53, 1 - 1e-9, 0.5, 1e-9, 1e-150, 1e-300])
floors = st.sampled_from([0.0, 5e-324, 1e-300, 1e-150, 1e-16, 1.0, 1e150, 1e300])
counts = st.lists(st.sampled_from([1.0, 2.0, 7.0]), min_size=4, max_size=4)
ranges = settings(derandomize=True, deadline=None, max_examples=60)


@ranges
@given(spectra, samples, levels, floors, floors, counts, st.booleans())
@example(np.array([1.0, 1e137, 1e-75]), 2, 1.0, 0.0, 5e-324, [1.0, 1.0, 2.0], False)
def test_losses_over_the_whole_range(values, n, level, floor, other, counts, estimated):
    counts = np.array(counts[: values.size])
    given_ = dict(floor=floor, other=other, multiplicities=counts, estimated_mean=estimated)
    with mpmath.workdps(DIGITS):
        expected = losses(values, counts, n, level, floor, other, estimated)
        for name, call in CALLS.items():
            try:
                found = call(values, n, level, **given_)
            except ValueError as error:
                # As stated: there the root is a cancellation that no float of the sum shows.
                assert "at N = rank" in str(error) and counts[values > 0].sum() in (n, 2 * n)
                assert max(floor, other) > 0 and min(filter(None, (floor, other))) < 1e-290
                continue
            compare(found, expected[name], name=name)
            try:
                corrected = call(values, n, level, one_loop=True, **given_)
            except ValueError as error:
                assert "one_loop" in str(error)
            else:
                assert not np.isnan(corrected), name


@ranges
@given(spectra, samples, st.floats(-323, 300), counts, st.booleans())
@example(np.array([1e49]), 2, 165.0, [1.0], False)
@example(np.array([1e105, 1e105]), 2, 0.0, [1.0, 1.0], False)
@example(np.array([1e122, 0.0]), 2, -156.0, [1.0, 1.0], False)
@example(np.array([1e136]), 2, 0.0, [1.0], True)
@example(np.array([1e125]), 2, -180.0, [1.0], False)
def test_traces_and_divergences_over_the_whole_range(values, n, decades, counts, estimated):
    counts, z = np.array(counts[: values.size]), 10.0**decades
    given_ = dict(multiplicities=counts, estimated_mean=estimated)
    with mpmath.workdps(DIGITS):
        model, mean = setting(values, counts, n, mpmath.mpf(z), estimated)
        ones, population = [mpmath.mpf(1)] * values.size, [mpmath.mpf(float(v)) for v in values]
        if not estimated:
            compare(eq.solve_kappa(values, n, z, multiplicities=counts), model.kappa, rtol=1e-12)
        for weights, g in ((None, ones), (values, population)):
            if weights is not None and values.max() == 0:
                continue
            found = eq.trace_resolvent(values, n, z, weights=weights, **given_)
            compare(found, model.trace(g), name="trace")
            found = eq.trace_resolvent_squared(values, n, z, weights=weights, **given_)
            compare(found, model.squared(g), name="squared")
        log_det, d = model.log_det(), mpmath.fsum(model.counts)
        compare(eq.log_det(values, n, z, **given_), log_det, scale=1e280 * 700 * float(d))
        variance = -2 * mpmath.log(model.stiffness)
        compare(eq.log_det_variance(values, n, z, **given_), variance)
        if np.all(values > 0):
            logs = log_det - model.total(mpmath.log(v) for v in population)
            kl = ((1 + mean) * model.trace(population) - d + logs) / 2
            compare(eq.kl(values, n, floor=z, **given_), kl, name="kl")
            ridge = mpmath.mpf(z) * model.total(1 / v for v in population)
            found = eq.kl(values, n, floor=z, reverse=True, **given_)
            compare(found, (ridge - logs) / 2, name="reverse")
        elements = eq.resolvent_squared_elements(values, n, z, **given_)
        factor = model.kappa**2 / (model.n * model.stiffness)
        parts = [v / e**2 for v, e in zip(model.values, model.model, strict=True)]
        first = factor * parts[0] * np.array(parts)
        first[0] += 1 / model.model[0] ** 2
        for found, expected in zip(elements[0], first, strict=True):
            compare(float(found), expected, name="elements")
        for call in (eq.trace_resolvent, eq.trace_resolvent_squared, eq.log_det):
            try:
                assert not np.isnan(call(values, n, z, one_loop=True, **given_))
            except ValueError as error:
                assert "one_loop" in str(error)


few = settings(derandomize=True, deadline=None, max_examples=40)


@few
@given(st.integers(1, 6), st.floats(0, 300).map(lambda x: 10.0**x), st.booleans(), st.booleans())
@example(6, 5.5, False, True)
@example(1, 1e9 + 0.5, True, False)
def test_wishart_averages_of_any_size(d, n, reverse, estimated):
    given_ = dict(estimated_mean=estimated)
    with mpmath.workdps(400):
        size = mpmath.mpf(float(n))
        margin = size - d - 1 - estimated
        if size >= 1 + estimated:
            exact = size * d / margin if margin > 0 else mpmath.inf
            compare(eq.trace_inverse_wishart(d, n, **given_), exact, rtol=1e-14)
        if n <= d - 1 + estimated + (0 if reverse else 2):
            return
        half = [(size - i - estimated) / 2 for i in range(d)]
        # The asymptotic series replaces digamma where it has more digits than are kept here.
        log_det = mpmath.fsum(
            mpmath.digamma(x) if x < 1e12 else mpmath.log(x) - 1 / (2 * x) - 1 / (12 * x**2)
            for x in half
        )
        log_det += d * mpmath.log(2 / size)
        if reverse:
            compare(eq.log_det_wishart(d, n, **given_), log_det, rtol=1e-12)
            exact = -log_det / 2
        else:
            fitted = d * (d + 3) / margin if estimated else d * (d + 1) / margin
            exact = (fitted + log_det) / 2
        compare(eq.kl_wishart(d, n, reverse=reverse, **given_), exact, rtol=1e-12)


@few
@given(spectra, floors, counts)
def test_floors_of_any_size(values, floor, counts):
    counts = np.array(counts[: values.size])
    with mpmath.workdps(DIGITS):
        terms = []
        for m, value in zip(counts, values, strict=True):
            v, c = mpmath.mpf(float(value)), mpmath.mpf(floor)
            if c == 0:
                terms.append(mpmath.mpf(0))
            elif v == 0:
                terms.append(mpmath.inf)
            else:
                terms.append(m * (v / (v + c) - 1 + mpmath.log1p(c / v)) / 2)
        exact = mpmath.fsum(terms)
        compare(eq.kl_floor(values, floor, multiplicities=counts), exact, rtol=1e-12)


@few
@given(st.floats(-323, -1e-6).map(lambda x: 10.0**x))
@example(1 - 2.0**-53)
def test_divergence_of_any_aspect_ratio(aspect):
    with mpmath.workdps(DIGITS):
        q = mpmath.mpf(aspect)
        exact = (q / (1 - q) - 1 - (1 - q) / q * mpmath.log1p(-q)) / 2
        compare(eq.kl_isotropic_limit(aspect), exact, rtol=1e-13, scale=1e-29)


@few
@given(spectra, samples, levels, counts, st.booleans())
def test_many_samples_and_small_noise_of_any_size(values, n, level, counts, estimated):
    counts = np.array(counts[: values.size])
    given_ = dict(multiplicities=counts, estimated_mean=estimated)
    if level == 1:
        return
    with mpmath.workdps(DIGITS):
        sigma2, size = (1 - mpmath.mpf(level)) / mpmath.mpf(level), mpmath.mpf(float(n))
        shares = [mpmath.mpf(float(v)) / (mpmath.mpf(float(v)) + sigma2) for v in values]
        noises = [sigma2 / (mpmath.mpf(float(v)) + sigma2) for v in values]
        many = [mpmath.mpf(float(m)) for m in counts]
        first = mpmath.fsum(m * s for m, s in zip(many, shares, strict=True)) + estimated
        second = mpmath.fsum(m * s * k for m, s, k in zip(many, shares, noises, strict=True))
        third = mpmath.fsum(m * s**2 * k for m, s, k in zip(many, shares, noises, strict=True))
        exact = (first * second + third) / size
        compare(eq.alignment_many_samples(values, n, level, **given_), exact, rtol=1e-12)
        freedom, rank = size - estimated, mpmath.fsum(many[i] for i in np.flatnonzero(values))
        if freedom >= rank:
            return
        found = eq.gap_small_noise(values, n, level, **given_)
        x = Exact(values, counts, freedom, NOTHING).kappa / NOTHING
        compare(found, freedom * (size + estimated) / (size * x * sigma2), rtol=1e-11)


@few
@given(
    st.floats(0, 300).map(lambda x: 10.0**x),
    st.one_of(st.floats(1e-10, 10).map(lambda x: 1 + x), st.floats(1, 300).map(lambda x: 10.0**x)),
    st.floats(-300, 300).map(lambda x: 10.0**x),
)
@example(3.0, 1 + 1e-10, 1.0)
@example(1e9, 2.0, 1e-300)
def test_scales_of_power_laws_of_any_size(n, exponent, amplitude):
    found = eq.power_law_scale(n, exponent, amplitude=amplitude)
    with mpmath.workdps(400):
        k = mpmath.mpf(exponent)
        base = (mpmath.mpf(n) + 0.5) * k / mpmath.pi * mpmath.sin(mpmath.pi / k)
        log = k * mpmath.log(base) - mpmath.log(mpmath.mpf(amplitude))
        exact = mpmath.exp(log) if log < 1e4 else mpmath.inf
        compare(found, exact, rtol=1e-12 + 1e-15 * exponent)
