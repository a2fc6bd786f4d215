"""What only the public edge has to know about its place, read from the environment."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from helpdesk.errors import SettingsError

_SECRET_FOLDER = re.compile(r"[\w/+=.@-]{1,200}")


@dataclass(frozen=True)
class FormSettings:
    """Where the forms are, and the folder of their secrets: a form's secret is `folder/form`."""

    forms_file: str
    secret_folder: str


@dataclass(frozen=True)
class CallbackSettings:
    """The secret that each helpdesk's callbacks bring, by the helpdesk's name."""

    secret_ids: Mapping[str, str]


def load_form_settings(environment: Mapping[str, str] = os.environ) -> FormSettings:
    """The settings of the function that takes forms. Raises SettingsError."""
    folder = environment.get("FORM_SECRET_FOLDER", "")
    if not _SECRET_FOLDER.fullmatch(folder):
        raise SettingsError("FORM_SECRET_FOLDER: give the folder of the forms' secrets")
    # Lambda says where it has put the function's code.
    code = environment.get("LAMBDA_TASK_ROOT", "/var/task")
    return FormSettings(environment.get("FORMS_FILE") or f"{code}/forms.json", folder.rstrip("/"))


def load_callback_settings(
    helpdesks: Collection[str], environment: Mapping[str, str] = os.environ
) -> CallbackSettings:
    """The settings of the function that takes callbacks of these helpdesks. Raises SettingsError."""
    variables = {name: f"{name.upper()}_CALLBACK_SECRET_ARN" for name in helpdesks}
    missing = [variable for variable in variables.values() if not environment.get(variable)]
    if missing:
        raise SettingsError("\n".join(f"{variable}: Field required" for variable in missing))
    return CallbackSettings({name: environment[variable] for name, variable in variables.items()})
