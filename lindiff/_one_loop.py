r"""First finite-size corrections, of relative order 1/N.

Gaussian fluctuations around the saddle point add :math:`\frac12\ln P(j)` to
:math:`\langle\ln\det(\Sigma_0+z+J)\rangle`, where :math:`J=\mathrm{diag}(j_\nu)` is a source and

.. math:: P(j)=1-\frac1N\sum_\nu f_\nu(j)^2,\qquad
          f_\nu(j)=\frac{\kappa(j)\lambda_\nu}{\kappa(j)\lambda_\nu+z+j_\nu}.

One derivative along g corrects :math:`\langle\mathrm{Tr}\,GQ\rangle`, a second one along h,
with a minus sign, :math:`\langle\mathrm{Tr}\,GQHQ\rangle`. Everything follows from
:math:`z\,\partial_gf=-fh\,(g-k_g)` with :math:`k_g=\frac z\kappa\partial_g\kappa`.
"""


def first(modes, source=None, resolvents=0):
    r"""Return z times the correction of :math:`\langle\mathrm{Tr}\,GQ\rangle`, shape (B,).

    With ``resolvents=1`` in the first two functions, one z for each Q is left out.
    """
    slope = modes.moment(2, 1, source, resolvents)
    slope = slope - modes.response(source, resolvents) * modes.moment(2, 1)
    return slope / (modes.n * modes.stiffness)


def second(modes, source=None, resolvents=0):
    r"""Return :math:`z^2` times the correction of :math:`\langle\mathrm{Tr}\,GQ^2\rangle`."""

    def own(g):
        moments = (modes.moment(p, q, g, resolvents) for p, q in ((2, 1), (2, 2)))
        return modes.response(g, resolvents), *moments

    ones = modes.response(), modes.moment(2, 1), modes.moment(2, 2)
    plain = own(None) if resolvents else ones
    weighted = plain if source is None else own(source)
    joint = (modes.moment(p, 2, source, 2 * resolvents) for p in (1, 2))
    return curvature(modes.n, modes.stiffness, weighted, plain, ones, tuple(joint))


def curvature(n, stiffness, a, b, ones, joint):
    r"""Return :math:`-z^2\partial_a\partial_b\,\frac12\ln P` for two sources.

    Each source is the triple of its response k and its moments of :math:`f^2h` and
    :math:`f^2h^2`; `ones` is the one of the identity, `joint` are the moments of
    :math:`fh^2` and :math:`f^2h^2` weighted by the product of both sources. All broadcast.
    """
    (k_a, u_a, v_a), (k_b, u_b, v_b), (_, u, v) = a, b, ones
    slope_a, slope_b = 2.0 / n * (u_a - k_a * u), 2.0 / n * (u_b - k_b * u)
    bend = joint[0] + k_a * u_b + k_b * u_a - k_a * k_b * u
    k_ab = 2.0 * k_a * k_b - 2.0 / (n * stiffness) * bend
    spread = joint[1] - k_a * v_b - k_b * v_a + k_a * k_b * v
    second_slope = -2.0 / n * (3.0 * spread + k_ab * u) - k_a * slope_b - k_b * slope_a
    return 0.5 * (slope_a * slope_b / stiffness - second_slope) / stiffness
