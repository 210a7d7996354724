"""The list of equivalent mutants fits the code, and the score counts them as it says."""

import mutation
import pytest

DIFF = """--- mutation diff ---
--- a/lindiff/_x.py
+++ b/lindiff/_x.py
@@ -1,3 +1,3 @@
 before
-    if x > 0:
+    if x !=  0:
 after
"""
PLACE = {"module_path": "_x.py", "start_pos": [2, 8], "operator_name": "Gt_NotEq", "occurrence": 0}
LINES = ["_BLOCK = 3", "    if x > 0:", "    rows = max(1, _BLOCK)"]


@pytest.mark.parametrize("module", mutation.EQUIVALENT)
def test_every_entry_fits_one_line_of_its_module(module):
    listed = mutation.EQUIVALENT[module]
    found = mutation.special(module, (mutation.ROOT / module).read_text().splitlines())
    assert len(found) == len(listed.get("mutants", ())) and all(found.values())


def test_entries_for_every_module_fit_each_place_in_a_line():
    line = "    x, y = x.reshape(-1, 2), y.reshape(-1)"
    found = mutation.general([line, LINES[1]])
    assert (mutation.bare(line), mutation.bare(line.replace("-1)", "-2)"))) in found
    assert (mutation.bare(line), mutation.bare(line.replace("-1,", "~1,"))) in found
    assert len(found) == 4 and found.items() <= mutation.entries("_x.py", [line]).items()


@pytest.mark.parametrize(
    "listed",
    [
        {"constants": ["_CHUNK"]},
        {"mutants": [["if y > 0", "if y != 0", "gone"]]},
        {"mutants": [["_BLOCK", "...", "two lines"]]},
    ],
)
def test_an_entry_that_fits_no_line_or_several_is_an_error(listed, monkeypatch):
    monkeypatch.setitem(mutation.EQUIVALENT, "_x.py", listed)
    with pytest.raises(SystemExit, match="mutation_equivalent"):
        mutation.entries("_x.py", LINES)


@pytest.mark.parametrize("after", ["x != 0", "..."])
def test_survivors_on_the_list_leave_the_score(after, monkeypatch, capsys):
    listed = {"mutants": [["x > 0", after, "never negative"]]}
    monkeypatch.setitem(mutation.EQUIVALENT, "_x.py", listed)
    known = {"_x.py": mutation.entries("_x.py", LINES)}
    other = DIFF.replace("if x !=  0", "if x < 0").replace("if x > 0", "if y > 0")
    found = [("survived", PLACE, DIFF), ("killed", PLACE, other), ("survived", PLACE, other)]
    mutation.report("group", 9, found, known)
    out = capsys.readouterr().out
    assert "1 of 2 killed (50%), 1 equivalent; 9 mutants" in out
    assert out.count("wants a test") == out.count("equivalent: never negative") == 1


def test_an_entry_whose_mutant_is_killed_is_an_error(monkeypatch):
    listed = {"mutants": [["x > 0", "x != 0", "never negative"]]}
    monkeypatch.setitem(mutation.EQUIVALENT, "_x.py", listed)
    known = {"_x.py": mutation.entries("_x.py", LINES)}
    with pytest.raises(SystemExit, match="tests kill"):
        mutation.report("group", 9, [("killed", PLACE, DIFF)], known)


def test_useless_mutants_are_left_out(monkeypatch):
    monkeypatch.setitem(mutation.EQUIVALENT, "_x.py", {"constants": ["_BLOCK"]})
    cases = [
        ("core/ReplaceBinaryOperator_Mul_Div", "def f(x, *, y):", 9, True),
        ("core/ReplaceBinaryOperator_Mul_Div", "    return x * y", 13, False),
        ("core/NumberReplacer", "_BLOCK = 3", 9, True),
        ("core/NumberReplacer", "    rows = 3 * _BLOCK", 11, False),
        ("core/ReplaceBinaryOperator_Add_BitOr", "    x + y", 6, True),
        ("core/ReplaceBinaryOperator_BitAnd_Mul", "    x & y", 6, True),
        ("core/ReplaceBinaryOperator_BitAnd_BitOr", "    x & y", 6, False),
    ]
    for operator, line, column, expected in cases:
        assert mutation.useless(operator, line, ("_x.py", 1, column)) == expected, line
