"""The parts of `form_intake`."""

from functools import cache
from pathlib import Path

from helpdesk.edge_settings import load_form_settings
from helpdesk.http.forms.form_file import load_forms
from helpdesk.http.forms.submissions import FormIntake
from helpdesk.http.shared_secrets import SharedSecrets
from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings


@cache
def form_intake() -> FormIntake:
    """What takes form submissions."""
    edge = load_form_settings()
    return FormIntake(
        load_forms(Path(edge.forms_file).read_text()),
        SharedSecrets(clients().secretsmanager, invocation.clock),
        edge.secret_folder,
        clients().sqs,
        settings().requests_queue_url,
        settings().default_helpdesk,
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
