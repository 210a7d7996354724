"""Training of weights and bias together, on data that are not centred."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from lindiff import _check
from lindiff._affine import AffineDenoiser
from lindiff._fit import graded_svd
from lindiff._loss_modes import levels, population
from lindiff._training import Level, flow, product, progress, rate

_BLOCK = 1 << 17


@dataclass(frozen=True, eq=False)
class JointModes:
    r"""A training set whose mean the bias has to learn, and a population.

    On data with mean :math:`\mu_0` the gradient of the bias mixes with that of the weights:
    :math:`\Theta=[W,b]` follows

    .. math:: \dot\Theta=-2\,\big(\Theta H-\sqrt{1-\bar\alpha}\,[\mathbb 1,0]\big),\qquad
       H=\begin{pmatrix}\bar\alpha(\Sigma_0+\mu_0\mu_0^\top)+(1-\bar\alpha+\bar\alpha c)\mathbb 1
       &\sqrt{\bar\alpha}\,\mu_0\\\sqrt{\bar\alpha}\,\mu_0^\top&1\end{pmatrix}

    Parameters
    ----------
    basis : numpy.ndarray, shape (d, k)
        Directions of the training set, then that of the rest of its mean if there is one.
    eigenvalues : numpy.ndarray, shape (k,)
        Variances of the training set along them.
    mean : numpy.ndarray, shape (k,)
        Mean of the training set along them.
    population_mean : numpy.ndarray, shape (k,)
        Mean of the population along them.
    population_root : numpy.ndarray, shape (r, k)
        Matrix A with :math:`A^\top A` the covariance of the population along them.
    outside : float
        Mean square of population points in the other d - k directions, in all.

    Notes
    -----
    The functions of this module take it in place of a `losses.LossModes`, which stands for a
    bias that follows the weights; there is no `per_mode` then, because the directions mix.
    The eigenvalues of H come from a triangular factor by one-sided Jacobi rotations:
    :math:`O(k^3)` per level, :math:`O(k^2)` per time. The relative error is 1e-11 times
    one plus the mean in standard deviations, for levels from 1e-9 to :math:`1-10^{-16}`, floors
    down to 5e-324 and any finite time; below that level the loss has an absolute error of
    1e-30 d. Extends Merger and
    Goldt 2025, MG-B.1, MG-B.2.

    Examples
    --------
    >>> modes = JointModes.from_data([[1.0], [3.0]], [2.0], [1.0])
    >>> modes.eigenvalues, modes.mean
    (array([1.]), array([2.]))
    """

    basis: np.ndarray
    eigenvalues: np.ndarray
    mean: np.ndarray
    population_mean: np.ndarray
    population_root: np.ndarray
    outside: float

    @property
    def dimension(self):
        """Number of coordinates d."""
        return len(self.basis)

    @classmethod
    def from_data(cls, data, mean, cov):
        r"""Measure a training set against a known population.

        Parameters
        ----------
        data : array_like, shape (N, d)
            Training points.
        mean : array_like, shape (d,)
            Population mean.
        cov : array_like, shape (d, d) or (d,)
            Population covariance, or the variances of independent coordinates.

        Examples
        --------
        >>> JointModes.from_data([[0.0, 1.0]], [0.0, 0.0], [1.0, 1.0]).outside
        1.0
        """
        return cls.from_denoiser(AffineDenoiser.from_data(data), mean, cov)

    @classmethod
    def from_denoiser(cls, denoiser, mean, cov):
        r"""Measure the training set behind a fitted denoiser against a known population.

        Parameters
        ----------
        denoiser : AffineDenoiser
            Its floor is not part of the modes: pass it to the functions.
        mean, cov : array_like
            Population moments as in `from_data`.

        Examples
        --------
        >>> fitted = AffineDenoiser.from_moments([2.0], [[1.0]])
        >>> JointModes.from_denoiser(fitted, [2.0], [[1.0]]).mean
        array([2.])
        """
        mean, cov = population(denoiser, mean, cov)
        basis, values = denoiser.eigenvectors, denoiser.eigenvalues
        rest = _without(basis, _without(basis, denoiser.mean))
        size = np.linalg.norm(rest)
        if size > 1e-14 * np.linalg.norm(denoiser.mean):
            basis, values = np.column_stack([basis, rest / size]), np.append(values, 0.0)
        root = np.diag(np.sqrt(cov)) if cov.ndim == 1 else _root(cov)
        left = _without(basis, np.column_stack([root.T, mean]))
        outside = np.sum(left**2) if basis.shape[1] < denoiser.dimension else 0.0
        along = basis.T @ denoiser.mean, basis.T @ mean
        return cls(basis, values, *along, root @ basis, float(outside))


def weights_and_bias(modes, time, alpha_bar, *, floor=0.0, start=0.0, learning_rate=None):
    r"""Weights and bias after some training of both, from :math:`W(0)=w\mathbb 1,\ b(0)=0`.

    .. math:: [W,b](\tau)=[w\mathbb 1,0]\,e^{-2H\tau}+\sqrt{1-\bar\alpha}\,[\mathbb 1,0]\,
              H^{-1}\big(\mathbb 1-e^{-2H\tau}\big)

    Parameters
    ----------
    modes : JointModes
    time, alpha_bar, floor, learning_rate
        As in `test_loss`; with `learning_rate` the power of :math:`\mathbb 1-2\eta H` takes the
        place of the exponential.
    start : float
        w, the weights before training in units of the identity.

    Returns
    -------
    weights : numpy.ndarray, shape (..., d, d)
    bias : numpy.ndarray, shape (..., d)

    Raises
    ------
    TypeError, ValueError
        As in `test_loss`.

    Notes
    -----
    Converges to Merger and Goldt 2025, MG-8; for the accuracy see `JointModes`.

    Examples
    --------
    >>> modes = JointModes.from_data([[1.0], [3.0]], [2.0], [1.0])
    >>> weights, bias = weights_and_bias(modes, 0.1, 0.75, learning_rate=0.1)
    >>> weights.round(4), abs(bias).round(4)
    (array([[0.1]]), array([0.]))
    """
    if not isinstance(modes, JointModes):
        raise TypeError("`modes` must be a JointModes; see JointModes.from_data")
    return _joint_weights(modes, time, alpha_bar, floor, start, learning_rate)


def joint_loss(modes, kind, time, alpha_bar, floor, start, learning_rate, per_mode):
    """Loss along training, shape to which time, alpha_bar and floor broadcast."""
    if per_mode:
        raise ValueError("`per_mode` needs a LossModes: a bias that learns mixes the directions")
    eta, start = rate(learning_rate), joint_start(start)
    ratio, floor = joint_levels(modes, alpha_bar, floor)
    parts = np.broadcast_arrays(ratio, floor, _check.non_negative("time", time))
    shape, (ratio, floor, time) = parts[0].shape, [part.ravel() for part in parts]
    result = np.empty(time.size)
    for member, problem in problems(modes, ratio, floor):
        for index in np.array_split(member, _pieces(member.size, problem)):
            left, done = progress(problem.level.curvature, time[index, None], eta)
            result[index] = problem.loss(kind, left, done, start)
    return float(result[0]) if not shape else result.reshape(shape)


def _joint_weights(modes, time, alpha_bar, floor, start, learning_rate):
    eta, start = rate(learning_rate), joint_start(start)
    ratio, floor = joint_levels(modes, alpha_bar, floor)
    parts = np.broadcast_arrays(ratio, floor, _check.non_negative("time", time))
    shape, (ratio, floor, time) = parts[0].shape, [part.ravel() for part in parts]
    d, k = modes.basis.shape
    weights, bias = np.empty((time.size, d, d)), np.empty((time.size, d))
    null = np.eye(d) - modes.basis @ modes.basis.T if k < d else 0.0
    for member, problem in problems(modes, ratio, floor):
        left, done = progress(problem.level.curvature, time[member, None], eta)
        gain = problem.level.state(left, done, start)[0][:, None, :]
        outer = modes.basis @ problem.vectors[:-1]
        weights[member] = (outer * gain[..., : k + 1]) @ outer.T + gain[..., -1:] * null
        bias[member] = (outer * gain[..., : k + 1]) @ problem.vectors[-1]
    return weights.reshape(*shape, d, d), bias.reshape(*shape, d)


def single_problem(modes, alpha_bar, floor):
    """The problem of one level."""
    ratio, floor = joint_levels(modes, alpha_bar, floor)
    if ratio.ndim != 0:
        raise ValueError("`alpha_bar` and `floor` must be single numbers; loop over them")
    return Problem.build(modes, ratio, floor)


@dataclass(frozen=True, eq=False)
class Problem:
    r"""One level: the eigenvalues of H as a `Level`, and the losses as quadratic forms.

    From :math:`W(0)=w\mathbb 1,\ b(0)=0` the weights are functions of H, and a loss is
    :math:`m^\top Pm+w^\top Qw` in their eigenvalues w and misfits m. The sums of the rows of Q
    are kept beside it: they may be small where its entries are not.
    """

    level: Level
    vectors: np.ndarray
    noise_form: np.ndarray
    data_forms: dict

    @classmethod
    def build(cls, modes, ratio, floor):
        signal, many = 1.0 / (1.0 + ratio), modes.dimension - modes.basis.shape[1]
        k = modes.eigenvalues.size
        factor = np.zeros((k + 1, k + 1))
        np.fill_diagonal(factor, np.sqrt(signal * (modes.eigenvalues + (ratio + floor))))
        factor[-1, :-1], factor[-1, -1] = np.sqrt(signal) * modes.mean, 1.0
        stretch, vectors = graded_svd(factor)
        curvature, along = stretch**2, vectors[:-1]
        noise_form, diagonal = (along.T @ along) ** 2, np.diag(np.sqrt(modes.eigenvalues))
        forms = {
            "training": _data_form(diagonal, modes.mean, signal, vectors),
            "test": _data_form(modes.population_root, modes.population_mean, signal, vectors),
        }
        if many:
            # Directions without data and mean learn alone and alike.
            curvature = np.append(curvature, signal * (ratio + floor))
            noise_form = linalg.block_diag(noise_form, many)
            for name, outside in (("training", 0.0), ("test", signal * modes.outside)):
                form, rows = forms[name]
                forms[name] = linalg.block_diag(form, outside), np.append(rows, outside)
        penalty = signal * floor
        form, rows = forms["training"]
        rows = rows + penalty * np.append(np.sum(along**2, axis=0), [many] * bool(many))
        forms["objective"] = form + penalty * noise_form, rows
        noise = np.sqrt(ratio / (1.0 + ratio))
        optimum = noise / curvature
        level = Level(signal, noise, curvature, optimum, 1.0 - noise * optimum)
        return cls(level, vectors, noise_form, forms)

    def loss(self, kind, left, done, start):
        weights, misfit = self.level.state(left, done, start)
        finite = np.all(np.isfinite(weights) & np.isfinite(misfit), axis=-1, keepdims=True)
        weights, misfit = np.where(finite, weights, 1.0), np.where(finite, misfit, 1.0)
        # The square of a weight on its way to infinity may overflow: the weight itself not yet.
        unit = np.maximum(np.abs(weights), np.abs(misfit)).max(axis=-1, keepdims=True)
        unit = np.maximum(1e-150 * unit, 1.0)
        weights, misfit = weights / unit, misfit / unit
        form, rows = self.data_forms[kind]
        base, rest = _split(weights)
        total = base[..., 0] * ((base + 2.0 * rest) @ rows) + _square(rest, form)
        total = total + _square(misfit, self.noise_form)
        with np.errstate(over="ignore"):
            total = total * unit[..., 0] * unit[..., 0]
        return np.where(finite[..., 0], total, np.inf)

    def slope(self, kind, log_time, start):
        """Derivative of the loss with respect to log time, up to a positive factor."""
        curvature = self.level.curvature
        with np.errstate(over="ignore"):
            time = np.exp(log_time)[:, None]
            left, done = flow(curvature, time)
            speed = product(curvature * time, left) * (self.level.optimum - start)
        weights, misfit = self.level.state(left, done, start)
        (form, rows), (base, rest) = self.data_forms[kind], _split(weights)
        along = np.sum((base * rows + rest @ form) * speed, axis=-1)
        return along - np.sum((misfit @ self.noise_form) * (self.level.noise * speed), axis=-1)


def _split(weights):
    """The smallest weight, and what the others have more."""
    place = np.argmin(np.abs(weights), axis=-1)[..., None]
    base = np.take_along_axis(weights, place, axis=-1)
    return base, weights - base


def _square(vector, form):
    return np.sum((vector @ form) * vector, axis=-1)


def _data_form(root, mean, signal, vectors):
    """The form of the data and the sums of its rows, from a root of their second moments."""
    image, last = np.sqrt(signal) * (root @ vectors[:-1]), vectors[-1]
    moved = np.sqrt(signal) * (mean @ vectors[:-1])
    centre = moved + last
    form = vectors[:-1].T @ vectors[:-1] * (image.T @ image + np.outer(centre, centre))
    return form, np.sum(image**2, axis=0) + moved * centre


def joint_levels(modes, alpha_bar, floor):
    values = modes.eigenvalues
    alone = modes.basis.shape[1] < modes.dimension
    return levels(np.append(values, 0.0) if alone else values, alpha_bar, floor)


def problems(modes, ratio, floor):
    """Yield the places of each distinct level, and its problem."""
    distinct, group = np.unique(np.stack([ratio, floor]), axis=1, return_inverse=True)
    for index, pair in enumerate(distinct.T):
        yield np.flatnonzero(group.ravel() == index), Problem.build(modes, *pair)


def _pieces(size, problem):
    return -(-size * problem.level.curvature.size // _BLOCK) or 1


def joint_start(start):
    return float(_check.as_array("start", start, ndim=0))


def _without(basis, columns):
    return columns - basis @ (basis.T @ columns)


def _root(cov):
    values, vectors = np.linalg.eigh(cov)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
