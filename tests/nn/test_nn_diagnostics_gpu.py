"""On a CUDA device every diagnostic gives what it gives on the CPU."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lindiff.nn import diagnostics as dg  # noqa: E402
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser  # noqa: E402

D = 16


def numbers(result):
    """Return all numbers of a result in one array."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, torch.Tensor):
        return result.double().cpu().numpy().ravel()
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return np.concatenate([numbers(part) for part in result]) if result else np.empty(0)
    if isinstance(result, (str, torch.nn.Module)):
        return np.empty(0)
    return np.ravel(np.asarray(result, dtype=float))


def cases(device, dtype):
    rng = np.random.default_rng(0)
    scales = np.linspace(1.5, 0.3, D)
    train, clean, other = (
        torch.from_numpy(scales * rng.standard_normal((n, D))).to(device, dtype)
        for n in (40, 600, 600)
    )
    gaussian, memoriser = GaussianDenoiser.from_images(train), MemorisingDenoiser(train)
    vectors, mean = gaussian.eigenvectors, gaussian.mean
    return {
        "linearity": dg.linearity(memoriser, clean, 0.5, mean=mean),
        "mse": dg.mse(memoriser, clean, 0.5),
        "mse_difference": dg.mse_difference(memoriser, gaussian, clean, 0.5),
        "rmse_between": dg.rmse_between(memoriser, gaussian, clean, 0.5),
        "pythagoras": dg.pythagoras(memoriser, gaussian, clean, 0.5),
        "distil_linear": dg.distil_linear(memoriser, clean, 0.5, reference=gaussian),
        "direction_wise": dg.direction_wise(memoriser, gaussian, clean, 0.5),
        "relative_distance": dg.relative_distance(memoriser, gaussian, clean, 0.5, vectors),
        "jacobian_checks": dg.jacobian_checks(memoriser, clean[:20], 0.5, clean=clean[:20]),
        "nearest": dg.nearest(clean, train),
        "memorised_fraction": dg.memorised_fraction(clean, train),
        "generalisation_score": dg.generalisation_score(clean, train, other),
        "agreement": dg.agreement(clean, other + clean, mean),
        "detail_similarity": dg.detail_similarity(clean, train, vectors, 3),
        "sliced_w2": dg.sliced_w2(clean, other[:500]),
        "frechet_pca": dg.frechet_pca(clean, other),
        "diagnose": [r for r in dg.diagnose(memoriser, train, clean, sigmas=[0.5]).rows],
    }


def assert_equal(found, want, rtol):
    assert found.keys() == want.keys()
    for name in want:
        a, b = numbers(found[name]), numbers(want[name])
        assert a.size, name
        scale = np.nanmax(np.abs(b))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=name)


def test_float32_gives_what_float64_gives():
    want = cases("cpu", torch.float64)
    assert_equal(cases("cpu", torch.float32), want, 2e-3)
    wrong = dict(want, mse=dg.Estimate(want["mse"].value * 1.02, 0.0))
    with pytest.raises(AssertionError, match="mse"):
        assert_equal(wrong, want, 2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.float32, 2e-3)])
def test_cuda_gives_what_the_cpu_gives(dtype, rtol):
    assert_equal(cases("cuda", dtype), cases("cpu", torch.float64), rtol)
