r"""Displays of the book, numbers for their names, and their values by another route."""

import numpy as np
from numpy import exp, log, sqrt
from scipy import special

from lindiff import onestep

LATEX = {
    "1.1": r"""x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon .""",
    "1.4": r"""\begin{aligned}
L_t(W,b)={}&\lVert I-
\sqrt{1-\bar\alpha_t}\,W\rVert_F^2+\bar\alpha_t\,\mathrm{tr}\,W\Sigma W^\top\\
&+\lVert\sqrt{\bar\alpha_t}\,W\mu+b\rVert^2 .
\end{aligned}""",
    "1.5": r"""W_t=\sqrt{1-\bar\alpha_t}\,\big[\bar\alpha_t\Sigma+(1-\bar\alpha_t)I\big]^{-1},
\qquad
b_t=-\sqrt{\bar\alpha_t}\,W_t\,\mu .""",
    "1.6": r"""\hat x_0(x,t)=\frac{x-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta(x,t)}{
\sqrt{\bar\alpha_t}} .""",
    "1.7": r"""\hat x_0(x,t)=\mu+\sqrt{\bar\alpha_t}\,\Sigma
\big[\bar\alpha_t\Sigma+(1-\bar\alpha_t)I\big]^{-1}\big(x-\sqrt{\bar\alpha_t}\,\mu\big).""",
    "1.9": r"""\tilde u_{t-1}-\mu=A_t\,(\tilde u_t-\mu),\qquad A_t=
\frac{\lambda+\sigma_{t-1}\sigma_t}{\lambda+\sigma_t^2} .""",
    "1.10": r"""v=\frac{\lambda}{1+\bar\alpha_T(\lambda-1)},\qquad
m=\mu\Big[1-\sqrt{\tfrac{\bar\alpha_T\lambda}{1+\bar\alpha_T(\lambda-1)}}\Big].""",
    "1.13": r"""\begin{aligned}
\mathbb E\,\mathrm{KL}=\tfrac12\Big[&\frac{d\,(N+1)}{N-d-2}-d\\
&+d\log\frac2N+\sum_{i=1}^d\psi\Big(\frac{N-i}2\Big)\Big] .
\end{aligned}""",
    "1.14": r"""\mathrm{PR}=\frac{\big(\sum_\nu\lambda_\nu\big)^2}{\sum_\nu\lambda_\nu^2} .""",
    "1.15": r"""0.9\le\frac{\delta_{\rm train}}{\delta_{\rm fresh}}\le1.05
\quad\text{for the affine model, }N=100,""",
    "2.2": r"""V_t=\alpha_tV_{t-1}+\beta_t,\quad V_0=0
\quad\Longrightarrow\quad V_t=1-\bar\alpha_t""",
    "2.7": r"""b^2=2\lambda\int_0^Te^{-2(T-t)}\,dt=\lambda\,(1-e^{-2T})""",
    "2.11": r"""X_T\sim\mathcal N(am,\sigma_x^2I),\quad
\sigma_x^2=a^2\sigma^2+b^2=a^2\sigma^2(1+\Lambda)""",
    "2.12": r"""\frac{d\bar\alpha}{du}=-\beta(u)\,\bar\alpha,\qquad
\bar\alpha(u)=\exp\Big(-\int_0^u\beta(u')\,du'\Big)""",
    "2.13": r"""\bar\alpha(u)=e^{-2T(u)},\qquad
T(u)=\tfrac12\int_0^u\beta(u')\,du'""",
    "2.14": r"""\frac{x_t}{\sqrt{\bar\alpha_t}}=x_0+\sigma_t\epsilon,\qquad
\sigma_t^2=\frac{1-\bar\alpha_t}{\bar\alpha_t},\quad
\bar\alpha_t=\frac1{1+\sigma_t^2}""",
    "2.15": r"""y|x\sim\mathcal N\Big(m+\frac{av\,(x-am)}{a^2v+b^2},\
\frac{vb^2}{a^2v+b^2}\Big)""",
    "2.22": r"""\mathrm{KL}(p\|q)=\tfrac12\Big[r-1-\log r+\frac{\delta^2}{v_q}\Big]""",
    "2.23": r"""\mathrm{KL}(p\|q)=\tfrac12\big[\mathrm{tr}\,S-d-\log\det S
+\delta^\top\Sigma_q^{-1}\delta\big]""",
    "2.24": r"""\mathrm{KL}(p\|q)=\sum_{i=1}^d\tfrac12\Big[\frac{v^p_i}{v^q_i}-1
-\log\frac{v^p_i}{v^q_i}+\frac{\delta_i^2}{v^q_i}\Big]""",
    "2.26": r"""\mathrm{KL}(p_c\|q)=\tfrac12\log\frac vc-\tfrac12+O(c)""",
    "3.2": r"""X\sim\mathcal N(am,\,\sigma_x^2I),\qquad \sigma_x^2=a^2\sigma^2+b^2""",
    "3.3": r"""\Lambda=\frac{b^2}{a^2\sigma^2}=\frac{\lambda\,(e^{2T}-1)}{\sigma^2}""",
    "3.4": r"""\rho=\frac{(a\sigma^2)^2}{\sigma^2\,\sigma_x^2}=
\frac{a^2\sigma^2}{a^2\sigma^2+b^2}=\frac{1}{1+\Lambda}""",
    "3.6": r"""D(x)=m+\beta\,(x-am),\qquad \beta=\frac{a\sigma^2}{\sigma_x^2}=\frac{\rho}{a}
=e^{T}\rho""",
    "3.7": r"""\tau^2=\frac1d\,\mathbb E\|Y-D(X)\|^2=\sigma^2-\beta^2\sigma_x^2
=\sigma^2(1-\rho)""",
    "3.9": r"""p_G=\mathcal N(m,\,\rho\,\sigma^2I)""",
    "3.10": r"""\underbrace{\beta^2\sigma_x^2}_{\text{generated}}+
\underbrace{\tau^2}_{\text{error of the denoiser}}=\sigma^2""",
    "3.11": r"""\mathrm{KL}\big(\mathcal N(0,r)\,\|\,\mathcal N(0,1)\big)=\int p\,\log
\frac pq\,dx=\tfrac12\,(r-1-\log r)""",
    "3.12": r"""\mathrm{KL}(p_G\,\|\,p_\star)=\frac d2\,(\rho-1-\log\rho)=\frac d2\Big[
\log(1+\Lambda)-\frac{\Lambda}{1+\Lambda}\Big]""",
    "3.13": r"""\frac{d\,\mathrm{KL}}{d\Lambda}=\frac d2\,
\frac{\Lambda}{(1+\Lambda)^2}\;\ge\;0""",
    "3.14": r"""\mathrm{KL}=d\,\Big(\frac{\Lambda^2}{4}-\frac{\Lambda^3}{3}\Big)+O(\Lambda^4)""",
    "3.15": r"""\mathrm{KL}=\frac d2\,(\log\Lambda-1)+O(1/\Lambda)""",
    "3.16": r"""\Lambda\simeq\frac{2\lambda T}{\sigma^2}\qquad(T\to0)""",
    "3.18": r"""\Lambda(\varepsilon)=\frac{1}{\rho}-1=-\frac{1}{W_0(-e^{-1-2\varepsilon})}-1""",
    "3.20": r"""W_2^2(p_G,p_\star)=d\,\sigma^2\,(1-\sqrt\rho)^2""",
    "3.21": r"""H^2=1-\Big[\frac{\rho^{1/4}}{\sqrt{(1+\rho)/2}}\Big]^d""",
    "3.22": r"""\mathrm{KL}=\frac12\sum_{i=1}^d(\rho_i-1-\log\rho_i),\qquad \rho_i=
\frac{a^2s_i}{a^2s_i+b^2}""",
    "4.7": r"""\mathbb E\,A^{-1}=\frac{I}{\nu-d-1}\qquad(\nu>d+1)""",
    "4.8": r"""t=\rho+(1-\rho)\frac{d}{\nu-d-1}\ (\nu>d+1),\qquad t=\rho\frac\nu d+(1-\rho)
\frac{\nu}{d-\nu-1}\ (\nu<d-1)""",
    "4.9": r"""\mathbb E\,\mathrm{KL}_{\rm mean}=\frac{d}{2n}\big[1+(1-\rho)\,t\big]""",
    "4.10": r"""\mathbb E\log\det A=d\log2+\sum_{i=1}^d\psi\Big(\frac{\nu-i+1}2\Big)""",
    "4.13": r"""\nu=d+2:\qquad F=-2\sum_{k=1}^d\frac{1-\rho^k}k""",
    "4.15": r"""f(r)=\frac{r^2}{c\,(1+r^2)},\qquad r^2\le\frac c{1-c}""",
    "4.16": r"""\ell=\log\rho\ \ (c\le\rho),\qquad \ell=\log c+\frac{1-c}c\log
\frac{1-c}{1-\rho}\ \ (c\ge\rho)""",
    "4.17": r"""\frac{\partial\ell}{\partial c}=-\frac1{c^2}\log\frac{1-c}{1-\rho},\qquad 
\frac{\partial^2\ell}{\partial c^2}\Big|_{c=\rho^+}=\frac1{\rho^2(1-\rho)}""",
    "4.19": r"""F=d\log\rho+\log\frac{\rho-d/\nu}{\rho\,(1-d/\nu)}+O(1/d)\qquad(d/\nu<\rho)""",
    "4.20": r"""\frac{\mathrm{KL}}d\to\frac12\Big[\rho+(1-\rho)\frac c{1-c}-1-\ell(\rho,c)
\Big]""",
    "4.21": r"""\frac{\mathrm{KL}}d\to\underbrace{\frac{\rho-1-
\log\rho}2}_{\text{infinite data}}+\frac{1-\rho}2\,\frac{d}{n-d}""",
    "4.25": r"""\begin{aligned}
\frac{2\,\mathrm{KL}_\varepsilon}d=\ &\alpha+(1-\rho)\alpha^2+\varepsilon^2-1-(1-\alpha)
\log\varepsilon^2\\
&-\alpha\log(1+\varepsilon^2)-
\frac{(1-\rho)\,\alpha^2\varepsilon^2}{(1+\varepsilon^2)^2}+O(\alpha^3)
\end{aligned}""",
    "4.26": r"""\frac{\partial}{\partial c}\,\frac{2\,\mathrm{KL}}d=\frac{1-\rho}{(1-c)^2}+
\frac1{c^2}\log\frac{1-c}{1-\rho}\qquad(c>\rho)""",
    "4.27": r"""2c\,e^{c/2}=1-c,\qquad \frac{\Lambda_*}{1+\Lambda_*}=\frac{(1-c)^2}{2c}""",
    "4.29": r"""\frac{\mathrm{MISE}}{\int p_\star^2}=
\frac{h^{-d}-(1+h^2)^{-d/2}}n+(1+h^2)^{-d/2}-2\Big(1+\frac{h^2}2\Big)^{-d/2}+1""",
    "4.30": r"""\mathbb E\,\mathrm{KL}_{\rm var}=\tfrac12\Big\{d\Big[\rho+(1-\rho)\frac d\nu
\Big]-d-F-\sum_{i=1}^d\psi\Big(\frac{\nu-i+1}2\Big)-d\log\frac2\nu\Big\}""",
    "4.32": r"""\frac{\mathrm{KL}(p_\star\|p_G)}d\to\tfrac12\Big[\frac{1-c}{\rho-c}-1+\log\rho
\Big]""",
    "4.34": r"""\mathbb E\,\frac{V_i}{s_i}=\rho_i+(1-\rho_i)\,\frac{d}{\nu-d-1}""",
    "4.36": r"""\mathbb E\,\mathrm{KL}_{\rm var}\simeq\sum_i\frac{\rho_i-1-\log\rho_i}2+
\frac{d}{2(\nu-d-1)}\sum_i(1-\rho_i)""",
    "5.1": r"""\int\mathcal N(x;u,A)\,\mathcal N(x;v,B)\,dx=\mathcal N(u-v;0,A+B)""",
    "5.3": r"""\frac1N\,\frac1{(4\pi\varepsilon_N^2)^{d/2}}=\frac1{(4\pi\sigma^2)^{d/2}}""",
    "5.14": r"""\mathbb E\,L=\frac{d\,(d+3)}{2\,(n-d-2)}""",
    "5.16": r"""\frac1{\sqrt{2\pi}}\Big\{\frac1{\sqrt2}\Big[2+\frac{N-1}{\sqrt{1+N^2}}+
\frac{M-1}{\sqrt{1+M^2}}\Big]-\frac2{\sqrt{2+N^{-2}+M^{-2}}}\Big\}""",
    "5.20": r"""g_k=\frac{s+\omega_{k-1}}{s+\omega_k},\qquad g_1g_2\cdots g_K=
\frac s{s+\omega_K}=\rho_K,\qquad V_0^{\rm means}=\rho_Ks,\quad V_0^{\rm post}=s""",
    "5.21": r"""V_0=s\Big[1-\sum_{k=1}^K\frac{(\rho_{k-1}-\rho_k)^2}{1-\rho_k}
\Big]+\rho_K^2\,(U_K-s-\omega_K)""",
    "5.22": r"""V_0=U_K\,\frac s{s+\omega_K}\prod_{k=1}^K\cos^2(\theta_k-\theta_{k-1})""",
    "5.23": r"""m_1=1,\qquad m_K=m_{K-1}-\tfrac14m_{K-1}^2,\qquad x_{K-1}=\big(1-\tfrac12m_{K-1}
\big)\,x_K""",
    "5.24": r"""\theta_k=\frac kK\,\theta_K,\qquad V_0/s=\cos^{2K}(\theta_K/K)""",
    "5.25": r"""m_K\simeq\frac4{K+\log K}""",
    "5.26": r"""\frac{\mathrm{KL}}d\simeq\frac{\theta_K^4}{4K^2}""",
    "5.27": r"""V_0=s+(\lambda-s)\sum_{k=1}^K
\frac{\rho_{k-1}^2\,(\omega_k-\omega_{k-1})^2}{(\lambda+\omega_k)(s+\omega_k)}""",
    "5.28": r"""V_{t-1}=\frac{(1-\beta/v_t)^2}{1-\beta}\,V_t+\beta\,[t>1],\qquad V_K=1""",
    "5.30": r"""W_k=\hat\Sigma\,(\hat\Sigma+\omega_kI)^{-1}""",
    "5.32": r"""V_0(\hat s)\to\hat s+\Big(\frac{\hat s}{\hat s+\omega_K}\Big)^2(1-\hat s)
\qquad(K\to\infty)""",
    "5.35": r"""\sum_k\mathrm{KL}_k=\frac d2\Big[-\log\rho_K-(1-\kappa)\sum_k(1-g_k)\Big]""",
    "5.36": r"""\Delta_{\rm KL}=\frac12\sum_j\Big[\frac{V_0(\hat s_j)}{\hat s_j}-V_0(\hat s_j)+
\log\hat s_j\Big]-\frac{\lVert\bar y\rVert^2}2""",
}

POINTS = {}
ab = 0.36
POINTS["1.1"] = [({"bar alpha_t": ab, "x_0": 1.5, "epsilon": -0.7}, 0.6 * 1.5 - 0.8 * 0.7)]
W = np.array([[0.4, 0.1], [-0.2, 0.3]])
S = np.array([[2.0, 0.5], [0.5, 1.0]])
mu = np.array([1.0, -2.0])
b = np.array([0.3, 0.2])
POINTS["1.4"] = [
    (
        {"bar alpha_t": ab, "W": W, "Sigma": S, "mu": mu, "b": b},
        np.sum((np.eye(2) - 0.8 * W) ** 2)
        + ab * np.trace(W @ S @ W.T)
        + np.sum((0.6 * W @ mu + b) ** 2),
    )
]
Wt = 0.8 * np.linalg.inv(ab * S + 0.64 * np.eye(2))
POINTS["1.5"] = [({"bar alpha_t": ab, "Sigma": S, "mu": mu}, [Wt, -0.6 * Wt @ mu])]
POINTS["1.6"] = [
    (
        {
            "bar alpha_t": ab,
            "x": 2.0,
            "epsilon_theta": {"args": ["x", "t"], "expr": "0.5*x + t"},
            "t": 3.0,
        },
        (2 - 0.8 * 4) / 0.6,
    )
]
POINTS["1.7"] = [
    (
        {"bar alpha_t": ab, "Sigma": S, "mu": mu, "x": np.array([0.5, 1.0])},
        mu + 0.6 * S @ np.linalg.solve(ab * S + 0.64 * np.eye(2), np.array([0.5, 1.0]) - 0.6 * mu),
    )
]
POINTS["1.9"] = [
    ({"lambda": 2.0, "sigma[0]": [0.1, 0.5, 0.9], "t": 2}, (2 + 0.5 * 0.9) / (2 + 0.81))
]
POINTS["1.10"] = [
    ({"lambda": 2.0, "bar alpha_T": 0.1, "mu": 3.0}, [2 / 1.1, 3 * (1 - sqrt(0.2 / 1.1))])
]
POINTS["1.13"] = [
    (
        {"d": 4, "N": 15},
        0.5
        * (
            4 * 16 / 9
            - 4
            + 4 * log(2 / 15)
            + sum(special.digamma((15 - i) / 2) for i in range(1, 5))
        ),
    )
]
spectrum = np.array([3.0, 1.0, 0.5])
POINTS["1.14"] = [({"lambda": spectrum}, spectrum.sum() ** 2 / (spectrum**2).sum())]
POINTS["1.15"] = [({"delta_train": 0.97, "delta_fresh": 1.0}, [0.9, 1.05])]
POINTS["2.2"] = [
    (
        {"alpha_t": 0.9, "beta_t": 0.1, "V[0]": [0, 0.1, 0.19], "t": 2, "bar alpha": [0.9, 0.81]},
        0.19,
    )
]
POINTS["2.7"] = [
    ({"lambda": 0.8, "T": 0.4, "b": sqrt(0.8 * (1 - exp(-0.8)))}, 0.8 * (1 - exp(-0.8)))
]
POINTS["2.11"] = [
    (
        {"a": 0.6, "m": 2.0, "sigma": 1.5, "b": 0.4, "Lambda": 0.16 / (0.36 * 2.25)},
        [1.2, 0.36 * 2.25 + 0.16],
    )
]
POINTS["2.12"] = [({"u": 0.7, "beta": {"args": ["u"], "expr": "1 + 3*u**2"}}, exp(-(0.7 + 0.343)))]
POINTS["2.13"] = [
    (
        {"u": 0.7, "beta": {"args": ["u"], "expr": "1 + 3*u**2"}},
        [exp(-(0.7 + 0.343)), (0.7 + 0.343) / 2],
    )
]
POINTS["2.14"] = [
    (
        {
            "sigma_t": 0.75,
            "bar alpha_t": 0.64,
            "x_0": 1.0,
            "epsilon": 0.3,
            "x_t": 0.8 * 1 + 0.6 * 0.3,
        },
        [1.225, 0.5625, 0.64],
    )
]
POINTS["2.15"] = [
    (
        {"m": 1.0, "a": 0.7, "v": 2.0, "x": 0.4, "b": 0.5},
        [1 + 1.4 * (0.4 - 0.7) / (0.98 + 0.25), 0.5 / (0.98 + 0.25)],
    )
]
POINTS["2.22"] = [({"r": 0.7, "delta": 0.3, "v_q": 1.2}, 0.5 * (0.7 - 1 - log(0.7) + 0.09 / 1.2))]
POINTS["2.23"] = [
    (
        {"S": S, "delta": mu, "Sigma_q": 2 * S, "d": 2},
        0.5 * (3 - 2 - log(1.75) + mu @ np.linalg.solve(2 * S, mu)),
    )
]
vp, vq, de = np.array([1.0, 2.0, 0.3]), np.array([1.5, 1.0, 0.4]), np.array([0.1, 0.2, 0.3])
POINTS["2.24"] = [
    (
        {"v^p": vp, "v^q": vq, "delta": de, "d": 3},
        0.5 * np.sum(vp / vq - 1 - log(vp / vq) + de**2 / vq),
    )
]
POINTS["2.26"] = [
    ({"v": 2.0, "c": np.array([0.1, 0.01])}, 0.5 * log(2 / np.array([0.1, 0.01])) - 0.5)
]
POINTS["3.2"] = [({"a": 0.6, "m": 2.0, "sigma": 1.5, "b": 0.4}, [1.2, 0.36 * 2.25 + 0.16])]
T, lam, s = 0.4, 0.8, 1.5
a = exp(-T)
bb = sqrt(lam * (1 - exp(-2 * T)))
L = bb**2 / (a * a * s * s)
rho = 1 / (1 + L)
base = {
    "T": T,
    "lambda": lam,
    "sigma": s,
    "a": a,
    "b": bb,
    "Lambda": L,
    "rho": rho,
    "sigma_x": sqrt(a * a * s * s + bb * bb),
}
POINTS["3.3"] = [({"T": T, "lambda": lam, "sigma": s, "a": a, "b": bb}, L)]
POINTS["3.4"] = [(base, rho)]
POINTS["3.6"] = [(base, a * s * s / (a * a * s * s + bb * bb))]
POINTS["3.7"] = [({**base, "beta": rho / a}, s * s * (1 - rho))]
POINTS["3.9"] = [({**base, "m": 2.0}, rho * s * s)]
POINTS["3.10"] = [({**base, "beta": rho / a, "tau_squared": s * s * (1 - rho)}, s * s)]
POINTS["3.11"] = [({"r": 0.6}, 0.5 * (0.6 - 1 - log(0.6)))]
POINTS["3.12"] = [({"d": 7, "rho": 1 / 1.4, "Lambda": 0.4}, 3.5 * (log(1.4) - 0.4 / 1.4))]
POINTS["3.13"] = [({"d": 7, "Lambda": 0.4}, 3.5 * 0.4 / 1.96)]
sm = np.array([0.01, 0.02, 0.04])
POINTS["3.14"] = [({"d": 1, "Lambda": sm}, onestep.kl_small_noise(sm, 1))]
POINTS["3.15"] = [({"d": 1, "Lambda": 100 * sm}, onestep.kl_large_noise(100 * sm, 1))]
POINTS["3.16"] = [({"T": sm, "lambda": 0.7, "sigma": 1.3}, 2 * 0.7 * sm / 1.69)]
w = np.array([1e-3, 0.01, 0.1, 1.0])
al = onestep.required_noise_to_signal(w)
POINTS["3.18"] = [({"varepsilon": w, "rho": 1 / (1 + al)}, al)]
POINTS["3.20"] = [({"d": 3, "sigma": 1.4, "rho": 0.6}, 3 * 1.96 * (1 - sqrt(0.6)) ** 2)]
POINTS["3.21"] = [({"d": 3, "rho": 0.6}, onestep.hellinger_squared(1 / 0.6 - 1, 3))]
ss = np.array([2.0, 1.0, 0.3])
POINTS["3.22"] = [
    (
        {"a": 0.6, "b": 0.4, "s": ss, "d": 3},
        0.5 * np.sum((r := 0.36 * ss / (0.36 * ss + 0.16)) - 1 - log(r)),
    )
]
POINTS["4.7"] = [({"nu": 14, "d": 5, "I": np.eye(5)}, np.eye(5).ravel() / 8)]
POINTS["4.8"] = [
    ({"rho": 0.6, "d": 12, "nu": 18}, 0.6 + 0.4 * 12 / 5),
    ({"rho": 0.6, "d": 12, "nu": 6}, 0.3 + 0.4 * 6 / 5),
]
POINTS["4.9"] = [({"rho": 0.6, "d": 12, "n": 19, "t": 1.3}, 12 / 38 * (1 + 0.4 * 1.3))]
POINTS["4.10"] = [({"d": 5, "nu": 14}, 5 * log(2) + special.digamma((14 - np.arange(5)) / 2).sum())]
POINTS["4.13"] = [({"nu": 202, "d": 200, "rho": 0.8}, onestep.expected_log_det(0.25, 200, 203))]
POINTS["4.15"] = [
    (
        {"r": np.array([0.5, 0.8, 1.1]), "c": 0.6},
        np.array([0.5, 0.8, 1.1]) ** 2 / (0.6 * (1 + np.array([0.5, 0.8, 1.1]) ** 2)),
    )
]
POINTS["4.16"] = [
    ({"rho": 0.5, "c": 0.3}, onestep.log_det_limit(1.0, 0.3)),
    ({"rho": 0.5, "c": 0.8}, onestep.log_det_limit(1.0, 0.8)),
]
POINTS["4.17"] = [({"rho": 0.4, "c": 0.7}, [-log(0.3 / 0.6) / 0.49, 1 / (0.16 * 0.6)])]
dd = np.array([32, 64.0])
POINTS["4.19"] = [
    (
        {"rho": 0.8, "d": dd, "nu": 2 * dd},
        [onestep.log_det_asymptotic(0.25, int(d), 2 * int(d) + 1) for d in dd],
    )
]
POINTS["4.20"] = [
    (
        {"rho": 0.8, "c": 0.5, "ell": {"args": ["r", "c"], "expr": "log(r)"}},
        onestep.kl_limit(0.25, 0.5),
    )
]
POINTS["4.21"] = [({"rho": 0.5, "d": 2.0, "n": 10.0}, 0.5 * (0.5 - 1 - log(0.5)) + 0.25 * 2 / 8)]
few = np.array([0.01, 0.02])
POINTS["4.25"] = [
    (
        {"rho": 0.5, "varepsilon": 0.5, "alpha": few},
        2 * np.array(onestep.kl_regularised_few_samples(1.0, few, 0.5)),
    )
]
POINTS["4.26"] = [({"rho": 0.4, "c": 0.7}, 0.6 / 0.09 + log(0.3 / 0.6) / 0.49)]
rs, cs = onestep.monotone_threshold()
POINTS["4.27"] = [({"c": cs, "Lambda_*": rs}, rs / (1 + rs))]
POINTS["4.29"] = [
    ({"n": 15, "h": 0.4, "d": 2}, (0.4**-2 - 1 / 1.16) / 15 + 1 / 1.16 - 2 / 1.08 + 1)
]
F = onestep.expected_log_det(1.0, 6, 9)
POINTS["4.30"] = [
    (
        {"rho": 0.5, "d": 6, "nu": 8, "F": F},
        (
            6 * (0.5 + 0.5 * 6 / 8)
            - 6
            - F
            - special.digamma((8 - np.arange(6)) / 2).sum()
            - 6 * log(2 / 8)
        )
        / 2,
    )
]
POINTS["4.32"] = [({"rho": 0.5, "c": 0.1}, onestep.kl_reverse_limit(1.0, 0.1))]
POINTS["4.34"] = [
    (
        {"rho": [0.9, 0.5, 0.2], "d": 3, "nu": 10},
        np.array([0.9, 0.5, 0.2]) + np.array([0.1, 0.5, 0.8]) * 3 / 6,
    )
]
POINTS["4.36"] = [
    (
        {"rho": [0.9, 0.5, 0.2], "d": 3, "nu": 10},
        np.sum((np.array([0.9, 0.5, 0.2]) - 1 - log([0.9, 0.5, 0.2])) / 2) + 3 / 12 * 1.4,
    )
]
POINTS["5.1"] = [
    ({"u": 0.3, "A": 0.5, "v": -0.2, "B": 0.8}, exp(-0.25 / 2.6) / sqrt(2 * np.pi * 1.3))
]
POINTS["5.3"] = [
    (
        {"N": 5, "d": 3, "varepsilon_N": 1.2 * 5 ** (-1 / 3), "sigma": 1.2},
        (4 * np.pi * 1.44) ** -1.5,
    )
]
POINTS["5.14"] = [({"d": 5, "n": 20}, 5 * 8 / (2 * 13))]
POINTS["5.16"] = [
    (
        {"N": 7, "M": 4},
        1
        / sqrt(2 * np.pi)
        * ((2 + 6 / sqrt(50) + 3 / sqrt(17)) / sqrt(2) - 2 / sqrt(2 + 1 / 49 + 1 / 16)),
    )
]
om = np.array([0, 0.2, 0.7, 1.6])
sg = 0.9
rk = sg / (sg + om)
K = 3
POINTS["5.20"] = [
    (
        {"s": sg, "omega[0]": om, "K": 3, "k": 2, "rho[0]": rk},
        [(sg + 0.2) / (sg + 0.7), sg / (sg + 1.6), rk[3] * sg, sg],
    )
]
U = 1.3
POINTS["5.21"] = [
    (
        {"s": sg, "omega[0]": om, "K": 3, "rho[0]": rk, "U_K": U},
        sg * (1 - sum((rk[k - 1] - rk[k]) ** 2 / (1 - rk[k]) for k in (1, 2, 3)))
        + rk[3] ** 2 * (U - sg - 1.6),
    )
]
th = np.arctan(sqrt(om / sg))
POINTS["5.22"] = [
    (
        {"s": sg, "omega[0]": om, "K": 3, "theta[0]": th, "U_K": U},
        U * sg / (sg + 1.6) * np.prod(np.cos(np.diff(th)) ** 2),
    )
]
m = [1.0]
for _ in range(4):
    m.append(m[-1] - m[-1] ** 2 / 4)
POINTS["5.23"] = [
    ({"m": m, "x": np.cumprod([1] + [1 / (1 - v / 2) for v in m[:4]])}, np.array(m[1:]))
]
POINTS["5.24"] = [
    (
        {"theta_K": 1.1, "K": 6, "s": 1.0, "theta": [1.1 * k / 6 for k in range(1, 7)]},
        np.cos(1.1 / 6) ** 12,
    )
]
POINTS["5.25"] = [
    ({"K": np.array([10.0, 100.0])}, 4 / (np.array([10.0, 100.0]) + log([10.0, 100.0])))
]
POINTS["5.26"] = [({"K": 20, "theta_K": 1.2}, 1.2**4 / 1600)]
POINTS["5.27"] = [
    (
        {"s": sg, "lambda": 1.4, "omega[0]": om, "K": 3, "rho[0]": rk},
        sg
        + 0.5
        * sum(
            rk[k - 1] ** 2 * (om[k] - om[k - 1]) ** 2 / ((1.4 + om[k]) * (sg + om[k]))
            for k in (1, 2, 3)
        ),
    )
]
POINTS["5.28"] = [
    (
        {"beta": 0.1, "V": [0.4, 0.64 / 0.9 + 0.1, 1.0], "v": [0.3, 0.4, 0.5], "K": 3, "t": 3},
        0.64 / 0.9 + 0.1,
    )
]
POINTS["5.30"] = [({"hat Sigma": S, "omega_k": 0.4}, S @ np.linalg.inv(S + 0.4 * np.eye(2)))]
POINTS["5.32"] = [({"hat s": 0.7, "omega_K": 1.2}, 0.7 + (0.7 / 1.9) ** 2 * 0.3)]
POINTS["5.35"] = [
    ({"d": 4, "rho_K": 0.2, "kappa": 0.3, "g": [0.5, 0.6, 0.7]}, 2 * (-log(0.2) - 0.7 * 1.2))
]
hs = np.array([0.5, 1.2])
POINTS["5.36"] = [
    (
        {"hat s": hs, "V_0": {"args": ["x"], "expr": "x**2 + 1"}, "bar y": [0.3, 0.4]},
        0.5 * np.sum((hs**2 + 1) / hs - hs**2 - 1 + log(hs)) - 0.125,
    )
]


def plain(value):
    """Return a binding or a value as the JSON of a record holds it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def record(tag, points, kind="numeric"):
    """Return the record of a check with these (bindings, value) pairs."""
    points = [{"bind": plain(bind), "value": plain(value)} for bind, value in points]
    return {"version": 1, "tag": tag, "kind": kind, "points": points}


EXAMPLES = {tag: (latex, record(tag, POINTS[tag])) for tag, latex in LATEX.items()}
