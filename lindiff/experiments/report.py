"""Lines about experiments for a terminal: what there is, how a run ended, where all stand."""

from lindiff.experiments import _registry, results, runner

__all__ = ["criterion_lines", "list_lines", "outcome_lines", "status_lines"]


def list_lines(folder):
    """Return one line for each experiment: name, title, presets, presets with a result."""
    lines = []
    for name in _registry.names():
        module = _registry.load(name)
        stored = [p for p in module.PRESETS if (folder / f"{name}-{p}.json").is_file()]
        lines.append(f"{name:27} {module.TITLE}")
        lines.append(f"{'':27} presets {', '.join(module.PRESETS)}; results {_some(stored)}")
    return lines


def outcome_lines(exp, preset, outcome):
    """Return the lines that a run ends with."""
    state = "complete" if outcome.complete else "not complete"
    lines = [f"{exp} {preset}: {outcome.done}/{outcome.total} units, {state}"]
    lines += [f"  unit {key} failed: {error}" for key, error in outcome.failures.items()]
    if not outcome.done:
        return [*lines, "  no unit is finished: no criterion is judged, no result written"]
    place = f"result in {outcome.folder}"
    if outcome.folder is None:
        place = "no result written: a complete one, perhaps of another version, is there already"
    return [*lines, *criterion_lines(outcome.criteria), f"  {place}"]


def criterion_lines(criteria):
    """Return one line for each criterion."""
    lines = []
    for entry in criteria:
        value = "" if entry.value is None else f" {entry.value:.4g}"
        why = f" ({entry.reason})" if entry.reason else ""
        name = f"{entry.id} {entry.dataset}".strip()
        lines.append(
            f"  {entry.verdict:10} {name}: {entry.text};{value} against {entry.threshold}{why}"
        )
    return lines


def status_lines(folder, out):
    """Return one line for each experiment and preset that has units or a result."""
    lines = []
    for name in _registry.names():
        for preset in _registry.load(name).PRESETS:
            line = _status(name, preset, folder, out)
            if line:
                lines.append(f"{name} {preset}: {line}")
    if any("; out of date, run" in line for line in lines):
        lines.append(
            "out of date: another version or other settings of the experiment made these "
            "numbers; they hold for the commit that the result names"
        )
    return lines or ["no experiment has run yet"]


def _status(name, preset, folder, out):
    planned = runner.plan(name, preset, out)
    result, problem = None, None
    for place in (folder, out / "results"):
        try:
            result = results.read(name, preset, folder=place)
            break
        except FileNotFoundError:
            continue
        except ValueError as error:
            problem = str(error)
            break
    if problem:
        return problem
    if result is None:
        done = sum(runner.is_done(record) for record in planned.records().values())
        return f"{done}/{len(planned.units)} units, no result" if done else None
    found = result.provenance
    count = {
        verdict: sum(entry.verdict == verdict for entry in result.criteria)
        for verdict in ("passed", "failed", "not judged")
    }
    said = ", ".join(f"{number} {verdict}" for verdict, number in count.items())
    age = "current"
    if results.mismatch(result):
        age = f"out of date, run `{results.command(name, preset, found['device'])}`"
    elif result.stands_at is not None:
        age = f"made by version {found['version']}, stands"
    failed = f", {len(found['failures'])} units failed" if found["failures"] else ""
    units = f"{found['units_done']}/{found['units_total']} units{failed}"
    return f"{units}; criteria {said}; {age}; {found['device_name']}"


def _some(names):
    return ", ".join(names) or "none"
