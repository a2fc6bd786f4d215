"""Trigger: API Gateway (REST, proxy). Input: a form submission. A failure is a 502: the sender repeats."""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, entry
from helpdesk.wiring.form_intake import form_intake


@entry(form_intake)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """The answer in API Gateway's proxy form."""
    return form_intake().answer(event)
