"""The settings, read from the environment: a setting's variable is its name in capitals."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple, get_args

from pydantic import AfterValidator, Field, SkipValidation, ValidationError, ValidationInfo

from helpdesk.clients.registered import settings_of
from helpdesk.clients.settings import READ_NAMES, BaseSettings, HelpdeskSettings, names
from helpdesk.errors import SettingsError
from helpdesk.models import HelpdeskName, Source


def _served(name: str, info: ValidationInfo) -> str:
    if name not in info.data.get("helpdesks", (name,)):
        raise ValueError("is none of HELPDESKS")
    return name


_Minutes = AfterValidator(lambda minutes: minutes * 60)
_Hours = AfterValidator(lambda hours: hours * 3600)


class Settings(BaseSettings, alias_generator=str.upper):
    """The settings of a function."""

    helpdesks: Annotated[tuple[HelpdeskName, ...], READ_NAMES, Field(min_length=1)] = ("kapture",)
    default_helpdesk: Annotated[HelpdeskName, AfterValidator(_served)] = Field(
        default_factory=lambda settings: settings["helpdesks"][0]
    )
    default_source: Source = "unknown"
    requests_queue_url: str
    dead_letter_queue_url: str
    outcomes_topic_arn: str
    ledger_table: str
    # The key of the markers; only functions that write markers or look for them may read it.
    marker_key_secret_arn: str
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 3.0
    read_timeout_s: Annotated[float, Field(gt=0, le=25)] = 15.0
    # How long a helpdesk may take to show a new ticket; only after that does a ticket count as absent, and
    # later still where a list was seen to lack a ticket for more than half as long.
    settle_after_s: Annotated[float, Field(ge=0)] = 900
    # How long a record in doubt stays out of sight: its outcome is published when it comes back.
    doubt_s: Annotated[float, Field(ge=1)] = 20
    # The most calls of one run of resolve_doubts.
    doubt_calls: Annotated[int, Field(ge=1)] = 10
    lease_s: Annotated[int, Field(ge=5)] = 40
    ledger_days: Annotated[int, Field(ge=1)] = 28
    max_delay_s: Annotated[int, Field(ge=1, le=43200)] = 900
    # Less than the fourteen days for which the queue keeps a message.
    give_up_after_s: Annotated[float, Field(alias="GIVE_UP_AFTER_HOURS", gt=0, le=312), _Hours] = 72 * 3600
    # About how often each watched ticket is polled; 0 where nothing is watched.
    watch_each_s: Annotated[float, Field(alias="WATCH_MINUTES", ge=0, le=1440), _Minutes] = 0
    # The most calls of one run of the watch to one helpdesk.
    watch_calls: Annotated[int, Field(ge=1)] = 60
    # Whether published changes hold the helpdesk's own fields too.
    changes_with_raw: bool = False
    # How long after its end a day is audited, since tickets show late; and how long its report is kept.
    # Below 0 a day is audited before its end, to try it out.
    audit_after_hours: Annotated[float, Field(ge=-24, le=72)] = 6
    audit_days: Annotated[int, Field(ge=1)] = 400
    threads: Annotated[int, Field(ge=1, le=50)] = 25
    # Those of each helpdesk that is served, by its name.
    accounts: SkipValidation[Mapping[str, HelpdeskSettings]]


class FormSettings(NamedTuple):
    """The forms' file, and the folder of their secrets: a form's secret is `folder/form`."""

    forms_file: str
    secret_folder: str


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this function. An empty variable is an absent one.

    Raises:
        SettingsError: one or more variables are missing or wrong; all of them are named.
    """
    variables = {name: value for name, value in environment.items() if value}
    served = names(variables.get("HELPDESKS", "kapture"))
    problems: list[str] = []
    accounts = {
        name: _validated(settings_of(name), variables, problems)
        for name in get_args(HelpdeskName)
        if name in served
    }
    settings = _validated(Settings, variables | {"ACCOUNTS": accounts}, problems)
    if settings is None or problems:
        raise SettingsError("; ".join(problems))
    return settings


def _validated[M: BaseSettings](
    model: type[M], variables: Mapping[str, object], problems: list[str]
) -> M | None:
    """The settings; None where some are wrong, which `problems` then names."""
    try:
        return model.model_validate(variables)
    except ValidationError as error:
        # DEFAULT_HELPDESK has no default while HELPDESKS is wrong: that is no problem of its own.
        problems += [
            f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
            if problem["type"] != "default_factory_not_called"
        ]
        return None


def load_form_settings(environment: Mapping[str, str] = os.environ) -> FormSettings:
    """The settings of the function that takes forms. Raises SettingsError."""
    folder = environment.get("FORM_SECRET_FOLDER", "")
    if not re.fullmatch(r"[\w/+=.@-]{1,200}", folder):
        raise SettingsError("FORM_SECRET_FOLDER: give the folder of the forms' secrets")
    # Lambda names the folder of the function's code.
    code = environment.get("LAMBDA_TASK_ROOT", "/var/task")
    return FormSettings(environment.get("FORMS_FILE") or f"{code}/forms.json", folder.rstrip("/"))


def load_callback_settings(
    helpdesks: Collection[str], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """By helpdesk, the id of the secret that its callbacks bring. Raises SettingsError."""
    variables = {name: f"{name.upper()}_CALLBACK_SECRET_ARN" for name in helpdesks}
    missing = [variable for variable in variables.values() if not environment.get(variable)]
    if missing:
        raise SettingsError("\n".join(f"{variable}: Field required" for variable in missing))
    return {name: environment[variable] for name, variable in variables.items()}
