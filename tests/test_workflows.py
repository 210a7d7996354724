"""The workflows stop at the first failure, may do little, and the alert arrives."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SPEC = spec_from_file_location("root_conftest", ROOT / "conftest.py")
conftest = module_from_spec(SPEC)
SPEC.loader.exec_module(conftest)
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCRIPTS = sorted((GITHUB / "scripts").iterdir())
SHELL = "bash -eo pipefail {0}"
WRITES = {("pages", "deploy"): {"pages", "id-token"}, ("colab", "alert"): {"issues"}}


def load(path):
    """A workflow; YAML reads the key ``on`` as True."""
    text = path.read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    document["on"] = document.pop(True, None) or document.get("on")
    return text, document


def problems(text, document):
    """Everything that the rules of this project forbid."""
    name = document["name"]
    found = []
    if document.get("defaults", {}).get("run", {}).get("shell") != SHELL:
        found.append("the shell does not stop at a failure in a pipe")
    if set(document.get("permissions", {"missing": 0}).items()) - {("contents", "read")}:
        found.append("the permissions of the workflow are too wide or missing")
    for job_name, job in document["jobs"].items():
        allowed = WRITES.get((name, job_name), set())
        granted = {k for k, v in job.get("permissions", {}).items() if v != "read"}
        if granted - allowed:
            found.append(f"{job_name} may write {sorted(granted - allowed)}")
        if "uses" not in job and "timeout-minutes" not in job:
            found.append(f"{job_name} has no time limit")
        if job.get("continue-on-error"):
            found.append(f"{job_name} goes on after an error")
        for step in job.get("steps", []):
            found += [f"{job_name}: {line}" for line in step_problems(step)]
    for line in text.splitlines():
        match = re.search(r"\buses:\s*(\S+)(.*)", line)
        if match and not match[1].startswith("./"):
            pinned = re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", match[1])
            if not (pinned and re.search(r"#\s*v\d+\.\d+", match[2])):
                found.append(f"{match[1]} is not pinned by hash with its version")
    return found


def step_problems(step):
    """What is wrong in one step."""
    found = []
    command = step.get("run", "").strip()
    if "\n" in command or re.search(r"&&|\|\||;|(?<!>)\|", command):
        found.append("a step runs more than one command")
    if "${{" in command:
        found.append("an expression stands in a command: pass it by env")
    if "shell" in step:
        found.append("a step has its own shell")
    if step.get("continue-on-error"):
        found.append("a step goes on after an error")
    kept = step.get("with", {}).get("persist-credentials") is not False
    if "actions/checkout" in step.get("uses", "") and kept:
        found.append("checkout keeps its credentials")
    return found


def test_there_are_workflows():
    assert [path.stem for path in WORKFLOWS] == ["colab", "pages", "portable", "test"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_rules(path):
    assert problems(*load(path)) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("test", SHELL, "bash -l {0}", "does not stop"),
        ("test", "contents: read", "contents: write", "too wide"),
        ("pages", "permissions: {}\n", "", "missing"),
        ("colab", "contents: read", "packages: write", "may write ['packages']"),
        ("test", "run: make test", "run: make test && cp a b", "more than one command"),
        ("test", "run: make test", "run: make test | tee log", "more than one command"),
        (
            "test",
            "run: make test",
            "run: |\n          make test\n          cp a b",
            "more than one",
        ),
        ("test", "run: make test", "run: make test ${{ github.head_ref }}", "pass it by env"),
        ("test", "run: make test", "continue-on-error: true\n        run: make test", "goes on"),
        ("test", "persist-credentials: false", "fetch-depth: 1", "keeps its credentials"),
        ("test", "    timeout-minutes: 30\n", "", "no time limit"),
        ("pages", "cd2ce8fcbc39b97be8ca5fce6e763baed58fa128 # v5.0.0", "v5", "not pinned"),
    ],
)
def test_rules_can_fail(tmp_path, name, old, new, reason):
    text = (GITHUB / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / f"{name}.yml"
    path.write_text(text.replace(old, new, 1))
    found = problems(*load(path))
    assert any(reason in line for line in found), found


def zizmor(folder):
    """Run the linter of workflows, or skip where it is not installed outside CI."""
    program = Path(sys.executable).parent / "zizmor"
    if not program.exists():
        assert not os.environ.get("CI"), "zizmor is missing from the environment"
        pytest.skip("zizmor is not installed")
    command = [str(program), "--offline", "--quiet", "--no-progress", str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_linter_is_content():
    done = zizmor(GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr


def test_linter_can_fail(tmp_path):
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    text = (GITHUB / "workflows" / "test.yml").read_text(encoding="utf-8")
    text = text.replace("run: make test", 'run: echo "${{ github.head_ref }}"')
    (workflows / "test.yml").write_text(text)
    done = zizmor(tmp_path / ".github")
    assert done.returncode != 0
    assert "template-injection" in done.stdout


def test_ci_runs_the_command_of_the_readme():
    _, document = load(GITHUB / "workflows" / "test.yml")
    commands = [step.get("run") for step in document["jobs"]["book"]["steps"]]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make test" in commands
    assert re.search(r"^make test$", readme, flags=re.M)


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
BOOK_TESTS = sorted(ROOT / "tests" / name for name in conftest.BOOK_TESTS)


def run_by(command):
    """The test files that a pytest command runs."""
    words = command.split("pytest", 1)[1].split()
    config = SimpleNamespace(getoption=words.__contains__)
    places = [ROOT / word for word in words if (ROOT / word).exists()]
    return [
        path
        for path in TESTS
        if any(path.is_relative_to(place) for place in places)
        and not conftest.pytest_ignore_collect(path, config)
    ]


def test_each_test_file_is_run_by_a_job():
    _, document = load(GITHUB / "workflows" / "test.yml")
    package = run_by(document["jobs"]["package"]["steps"][-1]["run"])
    assert set(BOOK_TESTS) < set(TESTS)
    assert sorted([*package, *BOOK_TESTS]) == TESTS
    # The job of the book names none, so that pytest runs what pyproject.toml says.
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert re.search(r"^unit:.*\n\t\$\(PY\) -m pytest -q -n \$\(JOBS\)$", recipe, flags=re.M)
    assert settings["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests", "lindiff"]


def test_a_list_of_files_leaves_some_out():
    assert run_by("pytest -q --package lindiff tests/nn tests/test_losses.py") != run_by(
        "pytest -q --package lindiff tests"
    )


def test_only_the_pinned_version_is_asked_for_equal_figures_and_formulas(monkeypatch):
    stands = dict(re.findall(r"^(sympy|matplotlib)==(\S+)$", REQUIREMENTS, flags=re.M))
    monkeypatch.setattr(conftest, "version", stands.get)
    assert conftest.pinned("sympy") and conftest.pinned("matplotlib")
    monkeypatch.setattr(conftest, "version", {"sympy": "1.12", "matplotlib": "3.8.0"}.get)
    assert not conftest.pinned("sympy") and not conftest.pinned("matplotlib")


def test_the_package_runs_elsewhere_too():
    _, document = load(GITHUB / "workflows" / "portable.yml")
    job = document["jobs"]["portable"]
    assert job["steps"][-1]["run"] == "make portable"
    assert job["strategy"]["matrix"]["where"] == ["path", "threads", "oldest"]
    script = (ROOT / ".ci" / "portable").read_text(encoding="utf-8")
    (command,) = re.findall(r"^.*pytest .*--package.*$", script, flags=re.M)
    assert set(run_by(command)) == set(TESTS) - set(BOOK_TESTS)


def test_site_is_deployed_only_after_the_tests_and_from_main():
    _, document = load(GITHUB / "workflows" / "pages.yml")
    deploy = document["jobs"]["deploy"]
    assert deploy["needs"] == "test" and deploy["if"] == "github.ref == 'refs/heads/main'"
    assert document["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"
    assert document["concurrency"]["cancel-in-progress"] is False
    _, called = load(GITHUB / "workflows" / "test.yml")
    assert "workflow_call" in called["on"]
    paths = [step.get("with", {}).get("path") for step in called["jobs"]["book"]["steps"]]
    assert "_build/html" in paths


def test_erratum_form():
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "erratum.yml").read_text(encoding="utf-8"))
    assert form["name"] == "Erratum"
    fields = {item["id"]: item for item in form["body"] if item["type"] != "markdown"}
    assert {"place", "printed", "right", "reason"} <= set(fields)
    assert all(item["attributes"]["label"] for item in fields.values())
    assert all(item["validations"]["required"] for item in fields.values())


def test_dependabot_watches_actions_and_pins():
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {item["package-ecosystem"] for item in updates} == {"github-actions", "pip"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_stop_at_a_failure(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def run_script(tmp_path, name, gh):
    """Run an alert script with a stand-in ``gh``; return the result and the calls it saw."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    log = tmp_path / "calls"
    log.touch()
    (tools / "gh").write_text(f'#!/bin/bash\necho "$*" >> "{log}"\n{gh}\n')
    (tools / "gh").chmod(0o755)
    alert = {"ALERT_LABEL": "colab", "ALERT_TITLE": "It fails", "ALERT_RUN": "run/17"}
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", **alert}
    command = [shutil.which("bash"), str(GITHUB / "scripts" / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, log.read_text()


def test_alert_opens_an_issue(tmp_path):
    code, calls = run_script(tmp_path, "open_alert", "true")
    assert code == 0
    assert "issue create --title It fails --label colab --body A weekly run failed: run/17" in calls
    assert "issue comment" not in calls


def test_alert_adds_to_the_open_issue(tmp_path):
    code, calls = run_script(tmp_path, "open_alert", 'if [ "$2" = list ]; then echo 5; fi')
    assert code == 0
    assert "issue comment 5 --body A weekly run failed: run/17" in calls
    assert "issue create" not in calls


@pytest.mark.parametrize("step", ["list", "create"])
def test_alert_fails_with_gh(tmp_path, step):
    code, _ = run_script(tmp_path, "open_alert", f'if [ "$2" = {step} ]; then exit 4; fi')
    assert code != 0


@pytest.mark.parametrize(
    ("answer", "arrived"), [("echo 1", True), ("echo 0", False), ("true", False), ("exit 4", False)]
)
def test_alert_is_asserted(tmp_path, answer, arrived):
    code, calls = run_script(tmp_path, "assert_alert", answer)
    assert (code == 0) is arrived
    assert "issue list" in calls
