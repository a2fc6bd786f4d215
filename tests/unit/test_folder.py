"""A user's own folder: what `bridge init` makes, and what `bridge check` says of it."""

import json
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from bridge.checks import folder as folder_checks
from bridge.cli import bridge
from bridge.errors import BridgeError
from bridge.generate import sources
from bridge.learning import facts
from bridge.local.folder import EXAMPLES, Folder
from helpdesk.clients.registered import settings_of
from helpdesk.models import HelpdeskName
from helpdesk.settings import Settings
from tests.profiles import PROFILES

KAPTURE = ["--helpdesk", "kapture", "--kapture-url", "https://acme.kapturecrm.com"]
_NO_PRIORITY = "ticket.priority is not taken by this account: KapturePriorityField names no field for it"
# Tied to the template's time-outs, or said by another setting: no operator's to choose.
INNER = {
    "CONNECT_TIMEOUT_S",
    "READ_TIMEOUT_S",
    "LEASE_S",
    "THREADS",
    "DOUBT_S",
    "MAX_DELAY_S",
    "LEDGER_DAYS",
    "DEFAULT_HELPDESK",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRIDGE_FOLDER", raising=False)
    return tmp_path


def run(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(bridge, arguments, input=answers)


def checked(own: Path) -> dict[str, tuple[str, ...]]:
    """What is wrong, by what was looked at; the template is not looked at."""
    own_checks = (folder_checks._settings, folder_checks._forms, folder_checks._schedules)
    return {result.what: result.problems for check in own_checks for result in check(Folder(own))}


def test_what_init_has_made_is_right(here: Path) -> None:
    made = run("init", "mine", *KAPTURE, "--form", "contact", "--form", "tally")

    assert made.exit_code == 0, made.output
    assert [problems for problems in checked(here / "mine").values() if problems] == []
    assert sorted(path.name for path in (here / "mine" / "forms").iterdir()) == ["contact.yaml", "tally.yaml"]


def test_every_form_to_begin_with_comes_with_a_sample_that_fits(here: Path) -> None:
    everything = [
        part
        for form in ("contact", "google", "gravity", "jotform", "microsoft", "orders", "tally", "typeform")
        for part in ("--form", form)
    ]
    run("init", ".", *KAPTURE, *everything)

    forms = {what: problems for what, problems in checked(here).items() if what.startswith("form ")}
    assert len(forms) == 8
    assert set(forms.values()) == {()}
    # Who has never seen a note asks what is wrong with the form that came with the folder.
    [contact] = [
        result for result in folder_checks._forms(Folder(here)) if result.what.startswith("form contact")
    ]
    assert contact.notes == ()


def test_a_form_to_begin_with_fits_socialboards_too(here: Path) -> None:
    run("init", ".", "--yes", "--helpdesk", "socialboards", "--form", "contact", "--form", "tally")

    forms = {what: problems for what, problems in checked(here).items() if what.startswith("form ")}
    assert set(forms.values()) == {()}


def test_only_what_is_not_said_is_asked(here: Path) -> None:
    made = run("init", answers="socialboards\nnone\n")

    assert made.exit_code == 0, made.output
    assert 'Helpdesks = "socialboards"' in (here / "bridge.toml").read_text()
    assert not list((here / "forms").iterdir())
    assert Folder(here).config().parameters == {"Helpdesks": "socialboards"}


def test_no_file_is_ever_overwritten(here: Path) -> None:
    (here / "README.md").write_text("mine")

    refused = run("init", "--yes")

    assert "this would overwrite: README.md" in str(refused.exception)
    assert [path.name for path in here.iterdir()] == ["README.md"]
    (here / "bridge.toml").write_text("")
    assert "is there already" in str(run("init", "--yes").exception)


def test_an_account_that_nobody_has_named_yet_is_told(here: Path) -> None:
    made = run("init", "--yes")

    # The check would stop at it; the local stack does not need it.
    assert "Next: bridge up\n" in made.output
    assert "in the place of YOUR-ACCOUNT into bridge.toml, at KaptureUrl" in made.output
    assert "KaptureUrl: put the name of your account" in str(checked(here))


def test_every_setting_can_be_said_in_bridge_toml_and_is_explained_there(here: Path) -> None:
    run("init", *KAPTURE)
    lines = (here / "bridge.toml").read_text().splitlines()

    # Above it stands an example of what a stage sets for itself.
    begin = lines.index("[parameters]")
    for name in sources.parameters():
        (place,) = [
            at
            for at, line in enumerate(lines)
            if at > begin and line.removeprefix("# ").startswith(f"{name} = ")
        ]
        assert lines[place - 1].startswith("# "), f"{name} is not explained"


def test_what_stands_in_a_comment_is_what_holds_without_it(here: Path) -> None:
    run("init", *KAPTURE)
    file = here / "bridge.toml"
    known = sources.parameters()
    text = [
        line.removeprefix("# ") if line.removeprefix("# ").partition(" = ")[0] in known else line
        for line in file.read_text().splitlines()
    ]
    # Another example of a stage's own.
    file.write_text("\n".join(line for line in text if line != "KaptureBudget = 600"))

    config = Folder(here).config()
    given = config.parameters_of(config.stages["prod"])
    assert given == {name: str(about.get("Default", "")) for name, about in known.items()} | {
        "KaptureUrl": "https://acme.kapturecrm.com"
    }


MODELS: list[type[BaseModel]] = [Settings, *map(settings_of, get_args(HelpdeskName))]


def test_no_setting_of_the_functions_is_out_of_an_operators_reach() -> None:
    said = {variable for variable, parameter in sources.variables().items() if parameter}
    made = {variable for variable, parameter in sources.variables().items() if not parameter}

    settings = {str(field.validation_alias) for model in MODELS for field in model.model_fields.values()}
    assert settings - said - made - {"ACCOUNTS"} == INNER


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("KaptureBugdet = 600", "KaptureBugdet: there is no such setting"),
        ('KaptureBudget = "many"', "KaptureBudget: is no whole number"),
        ("QueueConcurrency = 1", "QueueConcurrency: must be 2 to 1000, and not 1"),
        ("QueueConcurrency = 2.5", "QueueConcurrency: is no whole number: '2.5'"),
        ("QueueConcurrency = nan", "QueueConcurrency: is no whole number: 'nan'"),
        ("WatchMinutes = 0.0", "WatchMinutes: is no whole number: '0.0'"),
        ('AlarmTopicArn = "alarms"', "AlarmTopicArn: the ARN of an SNS topic: 'alarms'"),
        ('PermissionsBoundaryArn = "b"', "PermissionsBoundaryArn: the ARN of an IAM policy: 'b'"),
        ('Helpdesks = "zendesk"', "Helpdesks: names of helpdesks"),
        (
            'Helpdesks = "kapture,socialboards,kapture"',
            "names of helpdesks that there are, each once",
        ),
        ('Helpdesks = "kapture,"', "Helpdesks: names of helpdesks"),
        ('KaptureUrl = ""', "KaptureUrl: scheme and host only"),
        ('KaptureUrl = "https://acme.kapturecrm.com/api"', "KaptureUrl: scheme and host only"),
        ('KaptureUrl = "https://evil.example"', "KaptureUrl: must be https on a host of KAPTURE_HOSTS"),
        ('KaptureZone = "Mars/Base"', "KaptureZone: is no IANA time zone"),
        ("KaptureSubStatuses = 'no JSON'", "KaptureSubStatuses: must be a JSON object"),
    ],
)
def test_a_wrong_setting_is_named(here: Path, line: str, message: str) -> None:
    (here / "bridge.toml").write_text(f"[stages.prod]\n[stages.prod.parameters]\n{line}\n")

    assert message in str(checked(here)["settings of the stage prod: 1 given"])


def test_what_is_not_said_is_checked_as_the_value_that_runs() -> None:
    running = {"KaptureHosts": "acme.example", "KaptureUrl": "https://crm.acme.example"}

    assert folder_checks.wrong_parameters({"KaptureUrl": "https://new.acme.example"}, running) == []
    (problem,) = folder_checks.wrong_parameters({"KaptureHosts": "other.example"}, running)
    assert problem.startswith("KaptureUrl: must be https on a host of KAPTURE_HOSTS")


@pytest.mark.parametrize(
    ("stage", "ignored"),
    [
        ('region = "eu-west-1"', "stages.local.region"),
        ('stack = "other"\nprofile = "mine"', "stages.local.profile"),
        ('[stages.local.parameters]\nKaptureUrl = "https://a.kapturecrm.com"', "KaptureUrl"),
    ],
)
def test_what_the_local_stage_does_not_use_is_told(here: Path, stage: str, ignored: str) -> None:
    (here / "bridge.toml").write_text(f"[stages.local]\n{stage}\n")

    problems = [problem for problems in checked(here).values() for problem in problems]
    assert any(ignored in problem and "is not used" in problem for problem in problems), problems


def test_a_stack_that_a_stage_could_not_have_is_refused_before_anything_is_written(here: Path) -> None:
    refused = run("init", *KAPTURE, "--form", "none", "--stack", "My_Stack")

    assert "My_Stack" in str(refused.exception)
    assert "small letters, digits and hyphens" in str(refused.exception)
    assert list(here.iterdir()) == []


def test_no_form_to_begin_with_can_be_said_as_an_option(here: Path) -> None:
    made = run("init", *KAPTURE, "--form", "none")

    assert made.exit_code == 0, made.output
    assert not list((here / "forms").iterdir())


def test_which_stages_there_are_is_said_with_their_file(here: Path) -> None:
    (here / "bridge.toml").write_text("[stages.test]\n[stages.prod]\n")

    with pytest.raises(BridgeError) as said:
        Folder(here).stage(None)

    assert str(said.value) == f"Say which stage: local, test, prod (in {here}/bridge.toml)"


def test_a_file_that_is_no_bridge_toml_is_told(here: Path) -> None:
    (here / "bridge.toml").write_text("[stages.prod]\ncolour = 1\n")
    assert checked(here)["settings"] == ("bridge.toml: stages.prod.colour: Extra inputs are not permitted",)
    (here / "bridge.toml").write_text("[stages")
    assert "is no TOML" in checked(here)["settings"][0]


def test_a_form_is_wrong_without_a_sample_and_where_its_sample_becomes_something_else(here: Path) -> None:
    run("init", *KAPTURE, "--form", "contact", "--form", "tally")
    (here / "samples" / "form_add_tally.json").unlink()
    file = here / "samples" / "form_add_contact.json"
    sample = json.loads(file.read_text())
    sample["becomes"]["ticket"]["title"] = "Another"
    file.write_text(json.dumps(sample))
    (here / "forms" / "returns.yaml").write_text("service: tally\n")

    problems = checked(here)

    assert "no sample" in str(problems["form tally: 0 samples"])
    assert "form_add_contact: becomes another request" in str(problems["form contact: 2 samples"])
    assert "returns.yaml:1: " in str(problems["form returns: 0 samples"])


def test_a_sample_that_a_stages_helpdesk_would_refuse_is_wrong(here: Path) -> None:
    run("init", *KAPTURE, "--form", "contact")
    form, sample = here / "forms" / "contact.yaml", here / "samples" / "form_add_contact.json"
    form.write_text(form.read_text().replace("  ticket:\n", "  ticket:\n    priority: {constant: high}\n"))
    becomes = json.loads(sample.read_text())
    becomes["becomes"]["ticket"]["priority"] = "high"
    sample.write_text(json.dumps(becomes))
    toml = (here / "bridge.toml").read_text()
    (here / "bridge.toml").write_text(f'{toml}\n[stages.test.parameters]\nKapturePriorityField = "prio"\n')

    problems = checked(here)["form contact: 2 samples"]

    assert f"form_add_contact: {_NO_PRIORITY} (stage prod)" in problems


def test_check_says_all_and_ends_with_a_status_for_ci(here: Path) -> None:
    run("init", *KAPTURE, "--form", "contact")

    good = run("check")
    (here / "schedules" / "weekly-review.yaml").write_text("description: x\n")
    bad = run("check", "--json")

    assert (good.exit_code, bad.exit_code) == (0, 1), good.output
    assert "ok     schedule weekly-review (disabled): Mon " in good.output
    assert good.output.rstrip().endswith("ok     template, by the SAM CLI")
    problems = [json.loads(line) for line in bad.output.splitlines()]
    assert [row["what"] for row in problems if row["problems"]] == ["schedules", "template"]


def test_a_folder_is_found_from_below_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("init", *KAPTURE)
    monkeypatch.chdir(here / "forms")

    assert run("schedules").output.startswith("weekly-review  disabled")


def test_git_keeps_nothing_that_an_upgrade_or_a_run_changes(here: Path) -> None:
    run("init", *KAPTURE, "--form", "contact")
    (here / ".bridge").mkdir()
    (here / ".bridge" / "stack.json").write_text("{}")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "add", "."], check=True)

    kept = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split()

    assert kept == [
        ".github/workflows/check.yml",
        ".gitignore",
        "README.md",
        "bridge.toml",
        "forms/contact.yaml",
        "samples/form_add_contact.json",
        "samples/form_add_contact_multipart.json",
        "schedules/weekly-review.yaml",
    ]


def test_what_is_built_holds_the_forms_and_schedules_of_the_folder_alone(here: Path) -> None:
    run("init", "mine", *KAPTURE, "--form", "contact")

    template = sources.assemble(Folder(here / "mine"), here / "source")

    assert [path.name for path in (here / "source" / "functions" / "forms").iterdir()] == ["contact.yaml"]
    assert "WeeklyReviewSchedule:" in template.read_text()
    assert "WeeklyReviewSchedule:" not in sources.TEMPLATE.read_text()
    assert (here / "source" / "layers" / "helpdesk" / "helpdesk" / "parts.py").exists()


def test_the_version_is_told() -> None:
    assert run("--version").output.startswith("ticket-bridge, version 0.")


def test_the_examples_are_a_folder_like_any_other() -> None:
    assert [problems for problems in checked(EXAMPLES.root).values() if problems] == []


# ── what was learnt of an account ────────────────────────────────────────────────────────────────────────


def test_what_was_learnt_is_used_for_its_own_account_where_nobody_says_otherwise(tmp_path: Path) -> None:
    profile = PROFILES["slow_and_escaping"]
    facts.write(tmp_path / "helpdesk.kapture.json", profile.learnt)
    here = {"KaptureUrl": "https://acme.kapturecrm.com", "KaptureGetLimit": "30"}

    values, added = folder_checks.with_learnt(Folder(tmp_path), here)
    running, _ = folder_checks.with_learnt(Folder(tmp_path), {}, here | {"KaptureGetLimit": "50"})
    elsewhere, _ = folder_checks.with_learnt(Folder(tmp_path), {"KaptureUrl": "https://test.kapturecrm.com"})

    learnt = {"KaptureEscapedTexts": "true", "SettleAfterSeconds": "120"}
    assert values == here | learnt
    assert {name: origin.learnt_at for name, origin in added.items()} == dict.fromkeys(
        learnt, profile.learnt.learnt_at
    )
    assert running == learnt | {"KaptureGetLimit": "20"}
    assert elsewhere == {"KaptureUrl": "https://test.kapturecrm.com"}


def test_the_time_that_all_helpdesks_share_is_the_longest_and_taken_once_each_was_learnt(
    tmp_path: Path,
) -> None:
    kapture = PROFILES["slow_and_escaping"].learnt
    slower = {
        "SettleAfterSeconds": kapture.settings["SettleAfterSeconds"].model_copy(update={"value": "600"})
    }
    address = "https://api.socialboards.com"
    socialboards = kapture.model_copy(
        update={"helpdesk": "socialboards", "address": address, "settings": slower}
    )
    here = {"KaptureUrl": kapture.address, "Helpdesks": "kapture,socialboards"}
    facts.write(tmp_path / "helpdesk.kapture.json", kapture)
    alone, _ = folder_checks.with_learnt(Folder(tmp_path), here)
    facts.write(tmp_path / "helpdesk.socialboards.json", socialboards)
    both, _ = folder_checks.with_learnt(Folder(tmp_path), here)

    assert "SettleAfterSeconds" not in alone
    assert both["SettleAfterSeconds"] == "600"


def test_a_learnt_file_that_cannot_be_read_is_told(here: Path) -> None:
    run("init", "mine", *KAPTURE, "--form", "contact")
    (here / "mine" / "helpdesk.kapture.json").write_text('{"facts": 1}')

    (problems,) = [problems for what, problems in checked(here / "mine").items() if what == "settings"]

    assert problems[-1] == "Write it anew with: bridge learn"
