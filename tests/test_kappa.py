"""The self-consistent factor against fifty digits, closed forms and its own properties."""

import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lindiff import spectra
from lindiff._compressed import compress
from lindiff._kappa import solve
from lindiff.equivalents import solve_kappa, trace_resolvent

RNG = np.random.default_rng(0)
SPECTRA = {
    "isotropic": np.ones(20),
    "power law": spectra.power_law(30, 2.0),
    "twelve decades": 10.0 ** RNG.uniform(-12, 0, 40),
    "zeros": np.concatenate([np.zeros(5), RNG.uniform(0.1, 2.0, 15)]),
    "two scales": np.concatenate([np.ones(10), np.full(10, 1e-12)]),
    "compressed": np.geomspace(1e-3, 1.0, 300),
}


def fifty_digits(eigenvalues, n, z):
    """Newton in x = kappa / z from the left, monotone as the equation is convex."""
    with mpmath.workdps(60):
        values = [mpmath.mpf(float(value)) for value in eigenvalues]
        n, z = mpmath.mpf(float(n)), mpmath.mpf(float(z))
        x = n / (mpmath.fsum(values) + n * z)
        for _ in range(3000):
            rest = n - mpmath.fsum(x * v / (1 + x * v) for v in values) - n * z * x
            step = rest / (mpmath.fsum(v / (1 + x * v) ** 2 for v in values) + n * z)
            x += step
            if abs(step) < x * mpmath.mpf(10) ** -40:
                return float(z * x)
    raise AssertionError("the reference did not converge")


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("z", [1e-40, 1e-20, 1e-9, 1e-3, 1.0, 1e6])
def test_thirteen_digits_everywhere(name, z):
    values = SPECTRA[name]
    d = values.size
    n = np.array([1.0, 10.0, 15.0, d - 1.0, d, d + 1.0, 1000.0, 1e7])
    expected = [fifty_digits(values, one, z) for one in (n if d < 100 else n[[2, 4, 6]])]
    found = solve_kappa(values, n if d < 100 else n[[2, 4, 6]], z)
    assert_allclose(found, expected, rtol=1e-13)


def test_isotropic_closed_form():
    q, z = np.meshgrid([0.1, 0.5, 1.0, 2.0, 10.0], [1e-6, 1e-2, 1.0, 1e3])
    half = 0.5 * (z + q - 1)
    root = np.sqrt(half**2 + z)
    closed = np.where(half > 0, z / (half + root), root - half)
    found = solve_kappa([1.0], 100 / q, z, multiplicities=[100.0])
    assert_allclose(found, closed, rtol=1e-13)


def test_equal_numbers_and_no_noise_is_a_square_root():
    assert_allclose(solve_kappa(np.ones(50), 50, 1e-20), 1e-10 * np.exp(-0.5e-10), rtol=1e-13)
    assert_allclose(solve_kappa(np.full(50, 4.0), 50, 1e-200), 0.5e-100, rtol=1e-13)


@pytest.mark.parametrize(("n", "limit"), [(1, 0.0), (2, 0.0), (4, 0.5), (2.5, 0.2)])
def test_limit_without_noise(n, limit):
    values = [1.0, 0.0, 7.0]
    assert_allclose(solve_kappa(values, n, 0.0), limit, atol=1e-15)
    assert_allclose(solve_kappa(values, n, 1e-150), limit, atol=1e-70)


def test_no_signal_leaves_nothing_to_weaken():
    assert solve_kappa([0.0, 0.0], 3, 1.0) == 1.0
    assert solve_kappa([0.0], 3, 0.0) == 1.0
    ratio, kappa = solve(compress(np.zeros(2)), np.ones(3), np.array([0.0, 0.25, 4.0]))
    assert ratio.tolist() == [np.inf, 4.0, 0.25] and kappa.tolist() == [1.0] * 3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(1e-8, 1e8), min_size=1, max_size=30),
    st.floats(1.0, 1e4),
    st.floats(1e-12, 1e8),
)
def test_properties_of_the_root(values, n, z):
    values = np.array(values)
    kappa = solve_kappa(values, n, z)
    weakened = kappa * values / (kappa * values + z)
    assert abs(kappa - (1 - weakened.sum() / n)) < 1e-13 * (1 + weakened.sum() / n)
    assert 0 < kappa <= 1
    bound = 1 - spectra.degrees_of_freedom(values, z) / n
    assert kappa >= bound - 1e-13 * abs(bound)
    assert_allclose(solve_kappa(8.0 * values, n, 8.0 * z), kappa, rtol=1e-13)
    repeated = solve_kappa(np.repeat(values, 3), 3 * n, z)
    assert_allclose(
        solve_kappa(values, 3 * n, z, multiplicities=[3] * values.size), repeated, rtol=1e-13
    )
    # 3 N is rounded, which moves a root of any size by up to one unit of rounding.
    assert_allclose(repeated, kappa, rtol=1e-13, atol=np.finfo(float).eps)
    assert solve_kappa(values, 2 * n, z) >= kappa * (1 - 1e-14)
    assert solve_kappa(values, n, 2 * z) >= kappa * (1 - 1e-14)


def test_multiplicities_that_add_up_to_the_samples_within_rounding():
    rng, values = np.random.default_rng(0), np.geomspace(0.01, 3.0, 7)
    z = np.array([0.0, 1e-20, 1e-3])
    whole = solve_kappa(values, 100.0, z[1:], multiplicities=np.full(7, 100 / 7))
    for _ in range(400):
        counts = rng.dirichlet(np.ones(7)) * 100
        found = solve_kappa(values, 100.0, z, multiplicities=counts)
        assert abs(found[0]) < 1e-14 and np.all(np.diff(found) > 0)
        # Without noise kappa is the square root of z times the mean inverse variance.
        limit = np.sqrt(1e-20 * (counts @ (1 / values)) / 100)
        assert_allclose(found[1], limit, atol=1e-14)
    assert np.all(whole > 0)


def test_booleans_are_no_numbers_of_samples():
    for n in (True, np.array([True, False])):
        with pytest.raises(TypeError, match="n_samples"):
            solve_kappa([1.0], n, 1.0)


def test_more_than_300_decades_are_refused():
    assert solve_kappa([1.0, 1e-300], 3, 1.0) < 1
    with pytest.raises(ValueError, match=r"eigenvalues.*zero"):
        solve_kappa([1.0, 1e-301], 3, 1.0)
    with pytest.raises(ValueError, match="too small"):
        solve_kappa([1e150, 1e-150], 2, 5e-324)
    assert solve_kappa([1e150, 1e-150], 2, 0.0) == 0.0


def test_small_floor_expansion():
    values, n = spectra.power_law(40, 1.0), 100
    q, z = 0.4, np.array([1e-6, 1e-7])
    expansion = 1 - q + z / (1 - q) * np.sum(1 / values) / n
    error = np.abs(solve_kappa(values, n, z) - expansion)
    assert_allclose(error[0] / error[1], 100, rtol=0.01)


@pytest.mark.parametrize("n", [20, 90])
def test_relation_to_the_stieltjes_transform_free_of_the_spectrum(n):
    values, z = spectra.power_law(40, 1.5), np.array([1e-3, 0.1, 5.0])
    transform = trace_resolvent(values, n, z) / 40
    assert_allclose(solve_kappa(values, n, z), 1 - 40 / n + 40 / n * z * transform, rtol=1e-12)


def test_shapes():
    values = spectra.power_law(12, 1.0)
    table = solve_kappa(values, np.array([[4.0], [20.0]]), np.array([0.1, 1.0, 10.0]))
    assert table.shape == (2, 3)
    assert type(solve_kappa(values, 20, 1.0)) is float
    assert_allclose(table[1, 1], solve_kappa(values, 20, 1.0), rtol=1e-14)
    assert solve_kappa(values, np.ones(0), 1.0).shape == (0,)
    order = RNG.permutation(12)
    assert_allclose(solve_kappa(values[order], 20, 1.0), table[1, 1], rtol=1e-14)


def test_memory_is_linear_in_the_dimension():
    values = np.geomspace(1e-4, 1.0, 200_000)
    n, z = np.linspace(1e4, 1e6, 10_000), np.full(10_000, 0.01)
    tracemalloc.start()
    found = solve_kappa(values, n, z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * values.size
    direct = 1 - np.sum(found[0] * values / (found[0] * values + 0.01)) / n[0]
    assert_allclose(found[0], direct, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([-1.0], 2, 1.0), "eigenvalues"),
        (([[1.0]], 2, 1.0), "eigenvalues"),
        (([np.nan], 2, 1.0), "eigenvalues"),
        (([1.0], 0.5, 1.0), "n_samples"),
        (([1.0], np.nan, 1.0), "n_samples"),
        (([1.0], 2, -1.0), "z"),
        (([1.0], [2, 3], [1.0, 1.0, 1.0]), "n_samples.*z"),
    ],
)
def test_bad_input_is_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        solve_kappa(*arguments)
    for bad in ([0.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="multiplicities"):
            solve_kappa([1.0], 2, 1.0, multiplicities=bad)
    with pytest.raises(ValueError, match="multiplicities"):
        solve_kappa([1.0, 2.0], 2, 1.0, multiplicities=[1.0])
