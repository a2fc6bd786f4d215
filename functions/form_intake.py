"""Trigger: API Gateway (REST, proxy). Input: a form submission. A failure is a 502; the sender repeats."""

from pathlib import Path
from typing import Any

from helpdesk.http.forms.form_file import load_forms
from helpdesk.http.forms.submissions import FormIntake
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.invocation import LambdaContext, entry
from helpdesk.settings import load_form_settings


def form_intake(parts: BaseParts) -> FormIntake:
    """What takes form submissions."""
    settings = load_form_settings(parts.environment)
    return FormIntake(parts, load_forms(Path(settings.forms_file).read_text()), settings.secret_folder)


@entry(BaseParts, form_intake)
def handler(intake: FormIntake, event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """The response in API Gateway's proxy form."""
    return intake.respond(event)
