import numpy as np
import pytest

from lindiff import _check


@pytest.mark.parametrize("bad", [np.nan, [1.0, np.inf], [[-np.inf]]])
@pytest.mark.parametrize(
    "check",
    [
        _check.as_array,
        _check.as_spectrum,
        _check.as_covariance,
        _check.positive,
        _check.non_negative,
    ],
)
def test_nan_and_infinity_are_rejected_by_name(check, bad):
    with pytest.raises(ValueError, match="`width`"):
        check("width", bad)


def test_as_array_gives_float64_and_checks_rank():
    assert _check.as_array("x", [1, 2]).dtype == np.float64
    assert _check.as_array("x", 3, ndim=0) == 3.0
    assert _check.as_array("x", [[1]], ndim=(1, 2)).shape == (1, 1)
    with pytest.raises(ValueError, match="1 axes"):
        _check.as_array("x", 3.0, ndim=1)
    with pytest.raises(ValueError, match="1 or 2 axes"):
        _check.as_array("x", 3.0, ndim=(1, 2))


@pytest.mark.parametrize("bad", ["word", None, [object()], [[1.0], [1.0, 2.0]], 1j])
def test_as_array_rejects_what_is_no_number(bad):
    with pytest.raises(TypeError, match="`x`"):
        _check.as_array("x", bad)


def test_masks_are_not_read_as_numbers():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for check in (_check.as_array, _check.as_spectrum, _check.positive):
        with pytest.raises(ValueError, match=r"`x` has masked entries.*x\.compressed\(\)"):
            check("x", masked)
    assert _check.as_array("x", np.ma.masked_array([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_as_spectrum():
    assert _check.as_spectrum("v", [[0.0, 1.0]]).shape == (1, 2)
    for bad in (1.0, [], [-1e-300]):
        with pytest.raises(ValueError, match="`v`"):
            _check.as_spectrum("v", bad)


@pytest.mark.parametrize("d", [1, 128, 129, 300])
def test_as_covariance_looks_at_every_block(d):
    value = np.random.default_rng(0).standard_normal((d, d))
    value += value.T + 3 * d * np.eye(d)
    value[0, -1] *= 1 + 1e-13
    np.testing.assert_array_equal(_check.as_covariance("c", value), 0.5 * value + 0.5 * value.T)
    for i, j in {(0, d - 1), (d - 1, 0), (d // 2, 0)} - {(0, 0)}:
        bad = value.copy()
        bad[i, j] += 1.0
        with pytest.raises(ValueError, match="`c` must be symmetric"):
            _check.as_covariance("c", bad)


def test_as_covariance_symmetrises_rounding_and_rejects_asymmetry():
    value = np.array([[1.0, 0.5], [0.5 + 1e-13, 2.0]])
    result = _check.as_covariance("c", value)
    assert np.array_equal(result, result.T)
    assert value[1, 0] == 0.5 + 1e-13
    with pytest.raises(ValueError, match="symmetric"):
        _check.as_covariance("c", [[1.0, 0.5], [0.5 + 1e-8, 2.0]])
    for bad in ([1.0], [[1.0, 2.0]], np.zeros((0, 0))):
        with pytest.raises(ValueError, match="`c`"):
            _check.as_covariance("c", bad)


def test_signs():
    assert _check.positive("x", 2) == 2.0 and type(_check.positive("x", 2)) is float
    assert _check.non_negative("x", [0, 1]).tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="`x` must be positive, got 0"):
        _check.positive("x", [1.0, 0.0])
    with pytest.raises(ValueError, match="got -1"):
        _check.non_negative("x", -1.0)


def test_positive_int():
    assert _check.positive_int("n", np.int64(3)) == 3
    for bad in (True, 2.0, "2", None):
        with pytest.raises(TypeError, match="`n`"):
            _check.positive_int("n", bad)
    with pytest.raises(ValueError, match="`n`"):
        _check.positive_int("n", 0)


def test_alpha_bar():
    assert _check.alpha_bar(1.0) == 1.0
    for bad in (0.0, 1.0 + 1e-15, -0.5, np.nan):
        with pytest.raises(ValueError, match="`alpha_bar`"):
            _check.alpha_bar(bad)


def test_generator():
    rng = np.random.default_rng(0)
    assert _check.generator(rng) is rng
    for bad in (0, None, np.random):
        with pytest.raises(TypeError, match="default_rng"):
            _check.generator(bad)
