"""A page of another place, in a real browser, can read nothing and start nothing of the local stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bridge.local.emulator import Clients
from bridge.simulators.server import running
from tests.e2e.browser import browser, needs_browser

if TYPE_CHECKING:
    from bridge.local.state import Stack

pytestmark = needs_browser

# In the page: what a call shows, and whether anything of a picture, a form or a frame comes through.
_TRY = """
async ([address, method, headers, body]) => {
  const shown = [];
  for (const mode of ["cors", "no-cors"]) {
    try {
      const more = mode === "cors" ? { headers } : {};
      const answer = await fetch(address, { method, mode, body, ...more });
      shown.push(await answer.text());
    } catch { shown.push(""); }
  }
  await new Promise((done) => {
    const picture = new Image();
    picture.onload = picture.onerror = done;
    picture.src = address;
  });
  return shown;
}
"""


def _page_of_another_place() -> web.Application:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Another place</title>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", page)])
    return app


def _calls(stack: Stack) -> list[list[Any]]:
    """Address, method, headers and body of what such a page could want."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    json_1_1 = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
    secret = json.dumps({"SecretId": stack.secret_arns["kapture"]})
    create = "Action=CreateQueue&QueueName=planted"
    faults = json.dumps({"operation": "*", "fault": {"status": 500}})
    return [
        [f"{stack.endpoint_url}/", "POST", json_1_1, secret],
        [f"{stack.endpoint_url}/?{create}", "GET", {}, None],
        [f"{stack.endpoint_url}/", "POST", form, create],
        [
            f"{stack.api_url}/tickets",
            "POST",
            {"x-api-key": stack.api_key},
            '{"ticket": {"title": "planted"}}',
        ],
        [f"{stack.urls['kapture']}/_control/tickets", "GET", {}, None],
        [f"{stack.urls['kapture']}/_control/faults", "POST", {}, faults],
        [f"{stack.urls['socialboards']}/_control/reset", "POST", {}, None],
        [f"{stack.console_url}api/now", "GET", {}, None],
    ]


def test_a_page_of_another_place_reads_nothing_and_starts_nothing(stack: Stack) -> None:
    with running(_page_of_another_place()) as base, browser() as started:
        # Another port and another name of this machine: both are other places.
        for origin in (base, base.replace("127.0.0.1", "localhost")):
            page = started.new_context().new_page()
            page.goto(origin)
            for call in _calls(stack):
                assert page.evaluate(_TRY, call) == ["", ""], call[0]

    aws = Clients(stack.endpoint_url)
    assert not [url for url in aws.sqs.list_queues().get("QueueUrls", []) if url.endswith("planted")]


def test_a_page_cannot_send_a_form_that_starts_something(stack: Stack) -> None:
    with running(_page_of_another_place()) as base, browser() as started:
        page = started.new_context().new_page()
        page.goto(base)
        page.set_content(
            f'<form method="post" action="{stack.endpoint_url}/"><input name="Action" value="CreateQueue">'
            '<input name="QueueName" value="planted"><button>Send</button></form>'
        )
        page.get_by_role("button").click()
        page.wait_for_load_state()
        assert "no page of another place" in page.content()

    aws = Clients(stack.endpoint_url)
    assert not [url for url in aws.sqs.list_queues().get("QueueUrls", []) if url.endswith("planted")]
