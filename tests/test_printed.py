import json
import random
import re

import nbformat
import numpy as np
import printed_examples
import pytest
import slips
from printed_examples import EXAMPLES, record

from book._tools import notebooks, printed, texmath, texvalue


def at(latex, **bind):
    """Value of the only side of a formula."""
    (statement,) = texmath.statements(latex)
    return texvalue.side_value(statement.sides[0], texvalue.Scope.of(printed_examples.plain(bind)))


def refused(latex, **bind):
    with pytest.raises(texvalue.NotEvaluable) as error:
        at(latex, **bind)
    return str(error.value)


# ---- names


@pytest.mark.parametrize(
    "name",
    [
        r"\bar\alpha_t",
        r"bar{\alpha}_t",
        "bar{alpha}_t",
        "bar alpha_t",
        "alpha_bar_t",
        r"\overline{\alpha}_{t}",
        "bar_alpha_t",
    ],
)
def test_spellings_of_one_name(name):
    assert texmath.canonical(name) == "bar alpha_t"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lamda", "lambda"),
        ("lambda_", "lambda"),
        ("a2", "a_2"),
        ("rho_{k-1}", "rho_k-1"),
        (r"\mathrm{KL}_{\rm mean}", "KL_mean"),
        (r"V_0^{\rm means}", "V_0^means"),
        ("v^p_i", "v_i^p"),
        (r"p_{\mathcal D}", "p_mathcal D"),
        (r"\Lambda_*", "Lambda_*"),
        ("q'_j", "q'_j"),
    ],
)
def test_other_names(name, wanted):
    assert texmath.canonical(name) == wanted
    assert texmath.canonical(wanted) == wanted


def test_a_name_of_its_square_binds_the_name():
    assert at(r"\sigma^2", sigma_squared=4.0) == 4.0
    with pytest.raises(texvalue.NotEvaluable, match="bound twice"):
        texvalue.Scope.of({"alpha_bar": 1.0, r"\bar\alpha": 2.0})


# ---- values


X = np.array([[2.0, 1.0], [1.0, 3.0]])
V = np.array([1.0, -2.0])


@pytest.mark.parametrize(
    ("latex", "bind", "wanted"),
    [
        (r"1/2x", {"x": 4.0}, 1 / 8),
        (r"1/2\,x", {"x": 4.0}, 2.0),
        (r"\log2\pi", {}, np.log(2 * np.pi)),
        (r"\sqrt{\lambda_{\max}}", {"lambda_max": 4.0}, 2.0),
        (r"\log2\,\pi", {}, np.log(2) * np.pi),
        (r"\cos^2\theta+\sin^2\theta", {"theta": 0.3}, 1.0),
        (r"-x^2", {"x": 3.0}, -9.0),
        (r"a(1-c)^2", {"a": 2.0, "c": 3.0}, 8.0),
        (r"f(c)^2", {"f": {"args": ["x"], "expr": "x + 1"}, "c": 2.0}, 9.0),
        (r"f^2(c)", {"f": {"args": ["x"], "expr": "sqrt(x)"}, "c": 2.0}, 2.0),
        # The series of Ei(-1): Euler's constant plus the sum of (-1)^k / (k k!).
        (
            r"\mathrm{Ei}(-a)",
            {"Ei": {"args": ["x"], "expr": "expi(x)"}, "a": 1.0},
            -0.21938393439552,
        ),
        (r"\sqrt[3]{8}+0.25\cdot4", {}, 3.0),
        (r"\tfrac12\frac12", {}, 0.25),
        (r"\binom53+4!", {}, 34.0),
        (r"(\tfrac12)_3", {}, 0.5 * 1.5 * 2.5),
        (r"\Gamma(5)\,\psi(1)", {}, -24 * np.euler_gamma),
        (r"W_0(e)", {}, 1.0),
        (r"\max(1,x,2)-\min(1,x)", {"x": 5.0}, 4.0),
        (r"\max_i s_i", {"s": [1.0, 4.0, 2.0]}, 4.0),
        (r"2a_{\max}-a_{\log}", {"a_max": 3.0, "a_log": 1.0}, 5.0),
        (r"\sum_{i=1}^n s_i", {"s": [1.0, 2.0, 3.0], "n": 2}, 3.0),
        (r"\sum_i s_i^2", {"s": [1.0, 2.0]}, 5.0),
        (r"\sum_{ij}A_{ij}", {"A": X}, 7.0),
        (r"\sum_{i<j}s_is_j", {"s": [1.0, 2.0, 3.0]}, 11.0),
        (r"\sum_{i\ne j}s_is_j", {"s": [1.0, 2.0, 3.0]}, 22.0),
        (r"\sum_{i\le j}s_is_j", {"s": [1.0, 2.0]}, 7.0),
        (r"\sum_{k\ge1}\frac{x^k}k", {"x": 0.5}, np.log(2)),
        (r"\sum_{k_1\ge k_2\ge1}x^{k_1+k_2}", {"x": 0.5}, 2 / 3),
        (r"\sum_k(\omega_k-\omega_{k-1})", {"omega[0]": [1.0, 2.0, 5.0]}, 4.0),
        (r"\prod_{k=1}^K\cos\theta_k", {"theta": [0.1, 0.2], "K": 2}, np.cos(0.1) * np.cos(0.2)),
        (r"x^\top A^{-1}x", {"x": V, "A": X}, V @ np.linalg.solve(X, V)),
        (r"\mathrm{tr}\,xx^\top A-1", {"x": V, "A": X}, V @ X @ V - 1),
        (
            r"\log\det(AA^\top+y^2I)",
            {"A": X, "y": 2.0},
            np.log(np.linalg.det(X @ X + 4 * np.eye(2))),
        ),
        (r"\lVert A\rVert_F^2+\|x\|^2", {"A": X, "x": V}, 20.0),
        (r"\det\begin{pmatrix}a&1\\2&b\end{pmatrix}", {"a": 3.0, "b": 4.0}, 10.0),
        (r"(A^{-1})_{12}", {"A": X}, -0.2),
        (r"\mathrm{tr}\,A^{-1/2}A^{-1/2}", {"A": X}, 1.0),
        (r"\mathrm{tr}\,A^{+}A", {"A": X}, 2.0),
        (r"x^{(2)}", {"x": [3.0, 7.0]}, 7.0),
        (r"\Big\langle\frac l{1+l}\Big\rangle", {"l": [1.0, 3.0]}, 0.625),
        (r"\int_0^T e^{-2t}\,dt", {"T": 1.0}, (1 - np.exp(-2)) / 2),
        (r"\int x^2\,\mathcal N(x;u,v)\,dx", {"u": 1.0, "v": 2.0}, 3.0),
        (r"\beta\,[t>1]", {"beta": 3.0, "t": 1}, 0.0),
        (r"\begin{cases}x&x>1\\-x&\text{otherwise}\end{cases}", {"x": 0.5}, -0.5),
        (r"\begin{cases}1&\text{DDPM}\\0&\text{DDIM}\end{cases}", {"DDPM": 0, "DDIM": 1}, 0.0),
        (r"\frac{d\bar\alpha}{du}", {"d bar alpha/du": 3.0}, 3.0),
        (r"\frac{\partial^2\ell}{\partial c^2}", {"d^2ell/dc^2": 3.0}, 3.0),
        (r"f'(x)", {"f'": {"args": ["x"], "expr": "2*x"}, "x": 3.0}, 6.0),
        (r"z\bar z", {"z": {"re": 3.0, "im": 4.0}, "bar z": {"re": 3.0, "im": -4.0}}, 25.0),
        (r"|x|+\lfloor y\rfloor", {"x": -2.0, "y": 1.7}, 3.0),
    ],
)
def test_values(latex, bind, wanted):
    assert at(latex, **bind) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("latex", "bind", "why"),
    [
        (r"\mathbb E\,x", {"x": 1.0}, "expectation"),
        (r"\mathrm{KL}(p\|q)", {}, "bar"),
        (r"\nabla x", {"x": 1.0}, "gradient"),
        (r"x_1\cdots x_n", {"x": [1.0], "n": 1}, "dots"),
        (r"\lim x", {"x": 1.0}, "limit"),
        (r"x+y", {"x": 1.0}, "no value for y"),
        (r"x_t", {"x": [1.0, 2.0], "t": 3}, "outside"),
        (r"x_t", {"x": [1.0, 2.0], "t": 1.5}, "no integer"),
        (r"x_t", {"x": 1.0}, "no value for x_t"),
        (r"A+1", {"A": X}, "added to a matrix"),
        (r"1/A", {"A": X}, "division by a matrix"),
        (r"\log A", {"A": X}, "no number"),
        (r"\log(x)^2", {"x": 2.0}, "ambiguous"),
        (r"1/x", {"x": 0.0}, ""),
        (r"\sum_{k\ge1}\frac1k", {}, "converge"),
        (r"\sum_iJ", {"J": 1.0}, "range of i"),
        (r"I_2+A_1", {}, "no value"),
        (r"\|A\|", {"A": X}, "norm"),
        (r"\int_0^1\frac1x\,dx", {}, "integral"),
        (r"\begin{cases}1&\text{DDPM}\\0&\text{DDIM}\end{cases}", {}, "which case"),
        (r"x^{-1}", {"x": X * 0}, "fit"),
    ],
)
def test_what_has_no_value_says_why(latex, bind, why):
    assert why in refused(latex, **bind)


@pytest.mark.parametrize(
    "expr", ["__import__('os').getcwd()", "x.real", "[x]", "x if x else 1", "open(x)", "'a'"]
)
def test_a_bound_function_is_arithmetic_only(expr):
    assert "arithmetic" in refused("f(y)", f={"args": ["x"], "expr": expr}, y=1.0)


@pytest.mark.parametrize(
    "latex", [r"x+=1", r"\frac12(x=1", r"1+\max=x", r"=x", r"x^=2", r"x\,+", r"f(,x)=1"]
)
def test_broken_formulas_are_malformed(latex):
    sides = [s for statement in texmath.statements(latex) for s in statement.sides]
    assert any(side.malformed for side in sides)
    assert printed.compare(latex, {"tag": "1.1"}).problems


def test_statements_of_one_display():
    read = texmath.statements(
        r"""\begin{aligned} a&=b\\ &\quad+c,\\ d&=e \quad (e>1), \end{aligned}\qquad
        f=g\text{ for }h<2 \tag{1.1}"""
    )
    assert [[side.text for side in s.sides] for s in read] == [
        ["a", "b + c"],
        ["d", "e"],
        ["f", "g"],
    ]
    assert [len(s.conditions) for s in read] == [0, 1, 1]
    assert read[1].conditions[0].relations == [">"]


# ---- ties


@pytest.mark.parametrize("tag", EXAMPLES)
def test_formulas_of_the_book_tie(tag):
    latex, known = EXAMPLES[tag]
    tie = printed.compare(latex, known)
    assert tie.problems == ()
    assert tie.tied and tie.sides >= 1


@pytest.mark.parametrize("tag", EXAMPLES)
def test_another_value_does_not_tie(tag):
    latex, known = EXAMPLES[tag]
    wrong = json.loads(json.dumps(known), parse_float=lambda text: float(text))
    for point in wrong["points"]:
        value = printed._values(point["value"])
        scaled = (
            [1.001 * v + 1e-3 for v in value] if isinstance(value, list) else 1.001 * value + 1e-3
        )
        point["value"] = printed_examples.plain(scaled)
    tie = printed.compare(latex, wrong)
    assert not tie.tied


def tie(latex, bind, value, tag="1.1", kind="numeric"):
    return printed.compare(latex, record(tag, [(bind, value)], kind))


def test_the_message_names_tag_side_and_both_numbers():
    (text,) = tie(r"F=\frac d2\log\rho", {"d": 4.0, "rho": 0.5}, 1.25).problems
    assert "(1.1)" in text and r"\log \rho" in text
    assert f"{2 * np.log(0.5):.6f}"[:8] in text and "1.25" in text and "rho = 0.5" in text


def test_sides_that_disagree_with_each_other():
    bind = {"a": 2.0, "b": 3.0}
    assert tie("F=a+b=b+a", bind, 5.0).sides == 2
    (text,) = tie("F=a+b=b-a", bind, 5.0).problems
    assert "as equal" in text and "5" in text and "1" in text


def test_approximations_are_compared_with_the_stored_theory_only():
    bind = {"K": 10.0, "m": 0.36}
    value = 4 / (10 + np.log(10))
    for relation in (r"\simeq", r"\approx", r"\to", r"\sim"):
        found = tie(rf"m{relation}\frac4{{K+\log K}}", bind, value, kind="asymptotic")
        assert found.tied and not found.problems
        assert tie(rf"m{relation}\frac5{{K+\log K}}", bind, value, kind="asymptotic").problems
    assert tie(r"m=\frac4{K+\log K}", bind, value).problems


def test_orders_are_left_out():
    bind = {"x": 0.1, "y": 3.0}
    assert tie("y=1+x+O(x^2)", bind, 1.1).tied
    assert tie("y=1-x+O(x^2)", bind, 1.1).problems
    assert tie(r"y=1+x+\text{small}", bind, 1.1).tied


def test_conditions_choose_the_case():
    latex = r"\ell=\log\rho\ (c\le\rho),\qquad\ell=c\ (c>\rho)"
    both = record("1.1", [({"rho": 0.5, "c": 0.3}, np.log(0.5)), ({"rho": 0.5, "c": 0.7}, 0.7)])
    assert printed.compare(latex, both).sides == 2
    turned = latex.replace(r"\le", r"\ge")
    slipped = printed.compare(turned, both)
    assert slipped.problems or slipped.sides < 2


def test_inequalities_hold():
    assert tie(r"0.9\le\frac ab\le1.05", {"a": 0.95, "b": 1.0}, [0.9, 1.05]).tied
    assert tie(r"0.9\le\frac ab\le1.05", {"a": 1.2, "b": 1.0}, [0.9, 1.05]).problems
    assert tie(r"0.9\le\frac ab\le1.06", {"a": 0.95, "b": 1.0}, [0.9, 1.05]).sides == 3
    assert not tie(r"0.8\le x\le1.06", {}, [0.9, 1.05]).tied


def test_names_defined_in_the_display_serve_in_it():
    bind = {"rho": 0.5, "g": 0.2}
    latex = r"zg=\frac{1+r}2,\qquad r=\sqrt{1+4\rho g^2}"
    value = (1 + np.sqrt(1 + 2 * 0.04)) / 2
    assert tie(latex, bind, value).tied
    assert tie(latex.replace("4", "5"), bind, value).problems


def test_a_constant_beside_the_formula_does_not_meet_the_value():
    assert tie(r"V_0=1,\qquad F=x", {"x": 2.0}, 1.0).problems


def test_several_values_for_several_statements():
    bind = {"a": 2.0, "b": 3.0}
    assert tie(r"F=a+b,\quad G=ab", bind, [5.0, 6.0]).sides == 2
    assert tie(r"F=a+b,\quad G=ab", bind, [[5.0], [6.0]]).sides == 2
    assert tie(r"F=a+b,\quad G=a-b", bind, [5.0, 6.0]).problems


def test_rounding_of_a_difference_is_no_disagreement():
    assert tie("a-b=0", {"a": 0.1 + 0.2, "b": 0.3}, 0.0).tied
    assert tie("a-b=0", {"a": 0.3 + 1e-9, "b": 0.3}, 0.0).problems


def test_bindings_that_cannot_be_read_are_reported():
    assert "cannot be read" in tie("F=x", {"x": [[1.0], [1.0, 2.0]]}, 1.0).problems[0]
    assert "cannot be read" in tie("F=x", {"x": "word"}, 1.0).problems[0]


def test_no_slip_of_a_hand_stops_the_reading():
    rng = random.Random(0)
    for latex, known in EXAMPLES.values():
        pieces = re.findall(r"\\[A-Za-z]+|\\.|\s|.", latex)
        for _ in range(10):
            broken = list(pieces)
            for _ in range(rng.randint(1, 3)):
                broken[rng.randrange(len(broken))] = rng.choice(["", *pieces])
            assert printed.compare("".join(broken), known).tag == known["tag"]


# ---- notebooks


def chapter(*cells, form=None, **metadata):
    """A notebook from displays (text) and records (dict)."""
    notebook = nbformat.v4.new_notebook()
    for cell in cells:
        if isinstance(cell, str):
            notebook.cells.append(nbformat.v4.new_markdown_cell(f"> $$\n> {cell}\n> $$"))
        else:
            output = nbformat.v4.new_output("display_data", {printed.MIME: cell})
            notebook.cells.append(nbformat.v4.new_code_cell("check()", outputs=[output]))
    notebook.metadata["lindiff"] = {**({} if form is None else {"form": form}), **metadata}
    return notebook


GOOD = r"F=\frac d2\log\rho=\frac{d}{2}\log\rho \tag{1.1}"
LAW = r"X\sim p \tag{1.2}"
DEFINED = r"a=\mathbb E\,x \tag{1.3}"
RECORD = record("1.1", [({"d": 4.0, "rho": 0.5}, 2 * np.log(0.5))])
CELLS = (
    GOOD,
    RECORD,
    LAW,
    record("1.2", [], "simulation"),
    DEFINED,
    record("1.3", [], "definition"),
)


def test_ties_share_and_a_clean_chapter():
    clean = chapter(*CELLS, form=1, confirmed={"1.2": printed.display_hash(LAW)}, sides={"1.1": 2})
    assert printed.problems(clean) == []
    assert printed.ties(clean) == {"1.1": "evaluated", "1.2": "by eye", "1.3": "definition"}
    assert printed.share(clean) == (1, 2)


def test_a_printed_slip_is_a_problem():
    broken = chapter(GOOD.replace(r"\frac{d}{2}", r"\frac{d}{3}"), RECORD)
    assert "as equal" in printed.problems(broken)[0]
    broken = chapter(r"F=\frac d3\log\rho \tag{1.1}", RECORD)
    assert "but the check has" in printed.problems(broken)[0]
    assert printed.ties(broken) == {"1.1": "untied"}


def test_fewer_sides_than_stored_is_a_problem():
    fewer = chapter(r"F=\frac d2\log\rho=\frac{x}{2}\log\rho \tag{1.1}", RECORD, sides={"1.1": 2})
    (text,) = printed.problems(fewer)
    assert "compares 1 sides, 2 when it was run" in text and "no value for x" in text
    (text,) = printed.problems(chapter(GOOD, sides={"1.1": 2}))
    assert "no check" in text


def test_an_untied_equation_is_a_problem_in_form_only():
    assert printed.problems(chapter(*CELLS)) == []
    (text,) = printed.problems(chapter(*CELLS, form=1))
    assert text.startswith("(1.2) is not tied")
    assert printed.problems(chapter(LAW, form=1))


def test_an_edit_after_the_confirmation_is_a_problem():
    confirmed = {"1.2": printed.display_hash(LAW)}
    edited = chapter(LAW.replace("p", "q"), form=1, confirmed=confirmed)
    (text,) = printed.problems(edited)
    assert "edited after" in text
    spaced = chapter(LAW.replace(r"\sim", "\n> \\sim\n> "), form=1, confirmed=confirmed)
    assert printed.problems(spaced) == []
    renumbered = chapter(LAW.replace("1.2", "1.7"), form=1, confirmed={"1.7": confirmed["1.2"]})
    assert printed.problems(renumbered) == []
    assert "no display" in printed.problems(chapter(GOOD, RECORD, confirmed=confirmed))[0]


def test_confirm_writes_the_hash_and_nothing_else(tmp_path):
    path = tmp_path / "01_x.ipynb"
    path.write_text(notebooks.dumps(chapter(*CELLS, form=1, stamp="s")), encoding="utf-8")
    before = notebooks.read(path)
    printed.confirm(path, "1.2")
    after = notebooks.read(path)
    assert after.metadata.lindiff.pop("confirmed") == {"1.2": printed.display_hash(LAW)}
    assert after == before
    with pytest.raises(notebooks.ChapterError, match=r"\(9.9\)"):
        printed.confirm(path, "9.9")


def test_a_definition_can_be_confirmed():
    confirmed = {"1.3": printed.display_hash(DEFINED)}
    assert printed.ties(chapter(*CELLS, confirmed=confirmed))["1.3"] == "by eye"


def test_record_sides_stores_the_counts_and_says_what_fell():
    notebook = chapter(*CELLS, sides={"1.1": 3, "1.2": 1})
    assert printed.record_sides(notebook) == [
        "(1.1): 2 sides compared, 3 before",
        "(1.2): 0 sides compared, 1 before",
    ]
    assert notebook.metadata.lindiff.sides == {"1.1": 2}


# ---- the sweep


def test_slips_are_each_one_change_and_always_the_same():
    latex = r"F=\sqrt{x_{k-1}^2+2yz} \tag{1.1}"
    found = slips.slips(latex)
    assert found == slips.slips(latex)
    assert len({slip.latex for slip in found}) == len(found)
    kinds = {slip.kind for slip in found}
    assert kinds == {"sign", "digit", "square", "root", "symbol", "index", "factor"}
    assert all(r"\tag{1.1}" in slip.latex for slip in found)


def test_most_slips_in_formulas_of_the_book_are_noticed():
    share, line = slips.summary(slips.sweep(list(EXAMPLES.values())[::4]))
    assert share >= slips.REQUIRED, line


def test_the_sweep_fails_where_slips_escape(tmp_path, capsys):
    good, blind = tmp_path / "01_x.ipynb", tmp_path / "02_x.ipynb"
    notebook = chapter(r"\frac d2\log\rho=\frac d2\log\rho \tag{1.1}", RECORD, form=1)
    good.write_text(notebooks.dumps(notebook), encoding="utf-8")
    notebook = chapter(r"abcefghklm+x=\frac d2\log\rho \tag{1.1}", RECORD, form=1)
    blind.write_text(notebooks.dumps(notebook), encoding="utf-8")
    assert slips.main([str(good)]) == 0
    assert "100%" in capsys.readouterr().out
    assert slips.main([str(blind)]) == 1
    assert "escapes" in capsys.readouterr().out


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda path: path.stem)
def test_chapters_in_form_notice_most_slips(path):
    if notebooks.read(path)["metadata"].get("lindiff", {}).get("form") != 1:
        pytest.skip("not in form")
    share, line = slips.summary(slips.chapter(path))
    assert share >= slips.REQUIRED, line
