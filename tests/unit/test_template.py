"""The template's figures fit together, and its parts are guarded as promised."""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from samtranslator import yaml_helper  # type: ignore[import-untyped]  # as above
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]  # as above
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]  # as above

from bridge.generate import sources
from bridge.local.folder import EXAMPLES
from bridge.local.helpdesks import HELPDESKS, LocalHelpdesk
from helpdesk.clients.registered import settings_of
from helpdesk.models import HelpdeskName
from helpdesk.runtime.invocation import api_deadline, queue_deadline, schedule_deadline
from helpdesk.settings import Settings, load_settings
from tests.formation import Formation
from tests.unit.test_settings import NEEDED

if TYPE_CHECKING:
    from pydantic import BaseModel

_READ_YAML: Any = yaml_helper.yaml_parse
ROOT = Path(__file__).parents[2]
# With the schedule of the examples in it.
TEXT = sources.template(EXAMPLES)
TEMPLATE: dict[str, Any] = _READ_YAML(TEXT)
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
FUNCTION = "AWS::Serverless::Function"
# The longest that API Gateway waits for an answer.
API_GATEWAY_S = 29
FOLDER_OF_OURS = re.compile(
    r"arn:\$\{AWS::Partition\}:secretsmanager:\$\{AWS::Region\}:\$\{AWS::AccountId\}"
    r":secret:\$\{AWS::StackName\}/[a-z]+/\*"
)
CREATED = {"AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::DynamoDB::Table"}


@dataclass
class Context:
    """Lambda's context at the start of an invocation."""

    seconds: int

    def get_remaining_time_in_millis(self) -> int:
        return self.seconds * 1000


def of_type(type_: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource.get("Properties", {})
        for name, resource in RESOURCES.items()
        if resource["Type"] == type_
    }


def functions() -> dict[str, dict[str, Any]]:
    shared = TEMPLATE["Globals"]["Function"]
    return {name: shared | own for name, own in of_type(FUNCTION).items()}


def events(kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each function that has a trigger of this kind, with the trigger."""
    for function in functions().values():
        for event in function.get("Events", {}).values():
            if event["Type"] == kind:
                yield function, event["Properties"]


def referred(value: Any) -> str:
    """The logical name in a Ref or GetAtt."""
    name = value.get("Ref") or value["Fn::GetAtt"]
    return str(name if isinstance(name, str) else name[0])


def defaults() -> Settings:
    """The settings where the template says nothing: its own variables are names and choices."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert not {"CONNECT_TIMEOUT_S", "READ_TIMEOUT_S", "LEASE_S", "THREADS"} & variables.keys()
    return load_settings(NEEDED)


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield f"{name} {policy['PolicyName']}", statement
    for name, policy in of_type("AWS::SQS::QueuePolicy").items():
        for statement in policy["PolicyDocument"]["Statement"]:
            yield name, where_it_holds(statement)
    for name, bus in of_type("AWS::Events::EventBus").items():
        for statement in where_it_holds(bus["Policy"])["Statement"]:
            yield name, statement


def where_it_holds(part: dict[str, Any]) -> dict[str, Any]:
    """A part that a condition makes, or one that is always there."""
    made: dict[str, Any] = part["Fn::If"][1] if "Fn::If" in part else part
    return made


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_encrypted(type_: str, resource: dict[str, Any]) -> bool:
    match type_:
        case "AWS::SQS::Queue":
            return resource.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in resource
        case "AWS::SNS::Topic":
            return "KmsMasterKeyId" in resource
        case _:
            return resource.get("SSESpecification", {}).get("SSEEnabled") is True


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_stays_hidden_for_six_times_its_functions_time_out() -> None:
    consumers = list(events("SQS"))
    assert consumers
    for function, event in consumers:
        queue = RESOURCES[referred(event["Queue"])]["Properties"]
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]


@pytest.mark.parametrize(
    ("handler", "deadline"),
    [
        ("ticket_queue.handler", queue_deadline),
        ("ticket_api.handler", api_deadline),
        ("callbacks.handler", api_deadline),
        ("resolve_doubts.handler", schedule_deadline),
    ],
)
def test_a_call_ends_before_its_function_does(handler: str, deadline: Any) -> None:
    (function,) = [function for function in functions().values() if function["Handler"] == handler]
    settings = defaults()

    left_for_calls = deadline(Context(function["Timeout"])) - time.monotonic()

    assert settings.connect_timeout_s + settings.read_timeout_s < left_for_calls < function["Timeout"]


def test_a_lease_outlasts_the_function_that_holds_it_but_not_by_much() -> None:
    for function, event in events("SQS"):
        queue = RESOURCES[referred(event["Queue"])]["Properties"]
        assert function["Timeout"] < defaults().lease_s < queue["VisibilityTimeout"]


def test_the_api_answers_before_api_gateway_gives_up() -> None:
    answering = [function for function, _ in events("Api")]
    assert answering
    assert all(function["Timeout"] <= API_GATEWAY_S for function in answering)


def test_giving_up_comes_before_the_queue_forgets() -> None:
    longest_h = TEMPLATE["Parameters"]["GiveUpAfterHours"]["MaxValue"]
    for _, event in events("SQS"):
        kept_s = RESOURCES[referred(event["Queue"])]["Properties"]["MessageRetentionPeriod"]
        assert longest_h * 3600 + defaults().max_delay_s < kept_s
    assert load_settings(NEEDED | {"GIVE_UP_AFTER_HOURS": str(longest_h)})


def test_the_ledger_remembers_for_as_long_as_a_request_can_come_back() -> None:
    queues = of_type("AWS::SQS::Queue").values()
    assert defaults().ledger_days * 86400 >= sum(queue["MessageRetentionPeriod"] for queue in queues)


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_as_large_as_the_threads_that_carry_it_out() -> None:
    for _, event in events("SQS"):
        # More threads than that, and the last calls of a batch would wait for the time of the first.
        assert event["BatchSize"] == defaults().threads == 25
        # Lambda takes more than ten only with a window, and everybody waits for its end.
        assert event["MaximumBatchingWindowInSeconds"] == 1


def test_records_of_a_batch_fail_one_by_one() -> None:
    for _, event in events("SQS"):
        assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_throttle_bounds_the_batches_at_one_time() -> None:
    for _, event in events("SQS"):
        limit = TEMPLATE["Parameters"][referred(event["ScalingConfig"]["MaximumConcurrency"])]
        # AWS takes no fewer than two.
        assert (limit["MinValue"], limit["MaxValue"]) == (2, 1000)
        assert limit["MinValue"] <= limit["Default"] <= limit["MaxValue"]


# ── nothing is lost ──────────────────────────────────────────────────────────────────────────────────────


def test_the_queue_of_requests_has_a_dead_letter_queue_that_keeps_as_long() -> None:
    for _, event in events("SQS"):
        queue = RESOURCES[referred(event["Queue"])]["Properties"]
        dead = RESOURCES[referred(queue["RedrivePolicy"]["deadLetterTargetArn"])]["Properties"]
        assert dead["MessageRetentionPeriod"] >= queue["MessageRetentionPeriod"]
        assert dead["MaximumMessageSize"] == queue["MaximumMessageSize"]


def test_receives_do_not_decide_when_to_give_up() -> None:
    longest_s = TEMPLATE["Parameters"]["GiveUpAfterHours"]["Default"] * 3600
    for _, event in events("SQS"):
        receives = RESOURCES[referred(event["Queue"])]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
        # Half the longest delay is the shortest wait of a record that has waited often.
        assert receives > longest_s / (defaults().max_delay_s / 2)


def test_rule_and_schedule_have_a_dead_letter_destination_that_takes_from_them() -> None:
    targets = [
        (target, {"Service": "events.amazonaws.com"})
        for rule in of_type("AWS::Events::Rule").values()
        for target in rule["Targets"]
    ]
    assert targets
    for target, principal in targets:
        dead = target["DeadLetterConfig"]["Arn"]
        assert RESOURCES[referred(dead)]["Type"] == "AWS::SQS::Queue"
        allowed = [
            resource
            for _, statement in statements()
            if statement.get("Principal") == principal and "sqs:SendMessage" in statement["Action"]
            for resource in _listed(statement["Resource"])
        ]
        assert dead in allowed
        assert target["Arn"] in allowed
    schedules = of_type("AWS::Scheduler::Schedule").values()
    assert schedules
    for schedule in schedules:
        target = schedule["Target"]
        role = RESOURCES[referred(target["RoleArn"])]["Properties"]
        (statement,) = role["Policies"][0]["PolicyDocument"]["Statement"]
        assert statement["Action"] == "sqs:SendMessage"
        assert target["DeadLetterConfig"]["Arn"] in statement["Resource"]
        assert target["Arn"] in statement["Resource"]


def test_a_scheduled_request_is_named_by_its_time() -> None:
    for schedule in of_type("AWS::Scheduler::Schedule").values():
        assert re.search(
            r'"request_id": "[^"]*<aws\.scheduler\.scheduled-time>"', schedule["Target"]["Input"]
        )


@pytest.mark.parametrize("type_", sorted(CREATED))
def test_what_holds_requests_and_outcomes_is_encrypted(type_: str) -> None:
    resources = of_type(type_)
    # CloudWatch cannot publish to a topic under SNS's own key, and alarms hold no customer's text.
    resources.pop("AlarmTopic", None)

    assert resources
    assert [name for name, resource in resources.items() if not is_encrypted(type_, resource)] == []


# ── least privilege, logs ────────────────────────────────────────────────────────────────────────────────


def test_no_statement_reaches_further_than_the_resources_it_names() -> None:
    seen = list(statements())
    assert len(seen) > 5
    for name, statement in seen:
        resources = statement["Resource"]
        actions = statement["Action"]
        for resource in resources if isinstance(resources, list) else [resources]:
            # AWS ends the ARN of a secret with letters of its own, so only its folder can be named.
            folder = isinstance(resource, dict) and FOLDER_OF_OURS.fullmatch(resource.get("Fn::Sub", ""))
            assert folder or "*" not in str(resource), name
        for action in actions if isinstance(actions, list) else [actions]:
            assert "*" not in action, name


def test_every_role_is_written_out_and_can_be_bounded() -> None:
    roles = of_type("AWS::IAM::Role")
    assert all("PermissionsBoundary" in role for role in roles.values())
    assert all("ManagedPolicyArns" not in role for role in roles.values())
    for function in functions().values():
        # Without a role of ours SAM would write one.
        assert referred(function["Role"]) in roles
        assert "Policies" not in function


def test_every_function_logs_into_a_group_of_its_own_that_forgets() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    used = [referred(function["LoggingConfig"]["LogGroup"]) for function in functions().values()]

    assert len(set(used)) == len(used)
    for function, group in zip(functions().values(), used, strict=True):
        assert referred(groups[group]["RetentionInDays"]) == "LogRetentionDays"
        assert groups[group]["LogGroupName"]["Fn::Sub"].endswith(
            function["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}")
        )
        (logging,) = [
            statement
            for policy in RESOURCES[referred(function["Role"])]["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "logs:PutLogEvents" in statement["Action"]
        ]
        assert referred(logging["Resource"]) == group


def test_every_variable_of_the_functions_is_one_that_the_settings_know() -> None:
    models: list[type[BaseModel]] = [Settings, *map(settings_of, get_args(HelpdeskName))]
    fields = {field.alias: field for model in models for field in model.model_fields.values()}
    variables = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])

    assert variables - fields.keys() == {"POWERTOOLS_SERVICE_NAME"}
    needed = {name for name, field in fields.items() if field.is_required()}
    assert needed - variables == {"ACCOUNTS"}


def test_every_exception_of_a_scanner_is_argued() -> None:
    skipped = (ROOT / ".checkov.yaml").read_text().partition("skip-check:\n")[2].splitlines()

    assert skipped
    assert all(re.fullmatch(r"  - CKV_AWS_\d+ +# [A-Z].{20,}\.", line) for line in skipped)


@pytest.mark.parametrize("desk", HELPDESKS, ids=lambda desk: desk.name)
def test_the_template_holds_what_a_helpdesk_needs(desk: LocalHelpdesk) -> None:
    of_callbacks = functions()["CallbacksFunction"]["Environment"]["Variables"]

    for served in (desk.name, *map(",".join, permutations(get_args(HelpdeskName)))):
        assert re.fullmatch(PARAMETERS["Helpdesks"]["AllowedPattern"], served)
    assert desk.url_parameter in dict(sources.groups())[desk.title]
    assert {desk.secret_output, f"{desk.callback_secret}Arn"} <= TEMPLATE["Outputs"].keys()
    assert desk.callback_secret in json.dumps(of_callbacks[f"{desk.name.upper()}_CALLBACK_SECRET_ARN"])


# ── the public edge ──────────────────────────────────────────────────────────────────────────────────────


def open_routes() -> set[tuple[str, str]]:
    """Methods and paths that take calls without an API key."""
    return {
        (event["Method"], event["Path"])
        for _, event in events("Api")
        if event.get("Auth", {}).get("ApiKeyRequired") is False
    }


def test_only_the_public_edge_goes_without_an_api_key() -> None:
    assert {(method, path.split("/")[1]) for method, path in open_routes()} == {
        ("POST", "forms"),
        ("POST", "callbacks"),
        ("GET", "callbacks"),
    }
    (api,) = of_type("AWS::Serverless::Api").values()
    assert api["Auth"]["ApiKeyRequired"] is True


def test_what_is_open_to_everybody_has_a_rate_of_its_own() -> None:
    (api,) = of_type("AWS::Serverless::Api").values()
    limited = {
        (setting["HttpMethod"], setting["ResourcePath"][1:].replace("~1", "/"))
        for setting in api["MethodSettings"]
        if "ThrottlingRateLimit" in setting and "ThrottlingBurstLimit" in setting
    }
    assert limited == open_routes()


def test_the_function_that_takes_forms_can_only_log_queue_and_read_the_forms_secrets() -> None:
    role = RESOURCES[referred(functions()["FormIntakeFunction"]["Role"])]["Properties"]
    allowed = [
        statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]
    ]

    assert [statement["Action"] for statement in allowed] == [
        ["logs:CreateLogStream", "logs:PutLogEvents"],
        "sqs:SendMessage",
        "secretsmanager:GetSecretValue",
    ]
    assert referred(allowed[1]["Resource"]) == "RequestsQueue"
    folder = functions()["FormIntakeFunction"]["Environment"]["Variables"]["FORM_SECRET_FOLDER"]["Fn::Sub"]
    assert allowed[2]["Resource"]["Fn::Sub"].endswith(f":secret:{folder}/*")


# ── what is written once and meant several times ─────────────────────────────────────────────────────────


def merged_and_own(node: yaml.MappingNode) -> tuple[list[str], list[str]]:
    """The keys that `<<` brings into a mapping, and those that it has itself."""
    own = [key.value for key, _ in node.value if key.value != "<<"]
    brought = [
        name
        for key, value in node.value
        if key.value == "<<"
        for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        for keys in merged_and_own(part)
        for name in keys
    ]
    return brought, own


def mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from mappings(item)


def test_the_sam_cli_writes_the_same_template_without_aliases() -> None:
    # It changes PyYAML for its whole process.
    program = "import sys; from samcli.yamlhelper import *; print(yaml_dump(yaml_parse(sys.stdin.read())))"
    written = subprocess.run(
        [sys.executable, "-c", program], input=TEXT, capture_output=True, text=True, check=True
    ).stdout

    assert "<<: *" in TEXT
    # CloudFormation takes neither.
    assert [event for event in yaml.parse(written) if getattr(event, "anchor", None)] == []
    assert "<<:" not in written
    assert _READ_YAML(written) == TEMPLATE


def test_what_a_merge_brings_is_not_said_again_beside_it() -> None:
    """A reader may believe it then, and checkov reads no template in which a key is overridden."""
    for node in mappings(yaml.compose(TEXT)):
        brought, own = merged_and_own(node)
        assert len({*brought, *own}) == len(brought) + len(own), node.start_mark


def test_every_alarm_says_its_own_facts_itself() -> None:
    alarms = [
        own
        for node in mappings(yaml.compose(TEXT))
        if "MetricName" in (own := merged_and_own(node)[1]) or "AlarmName" in own
    ]

    assert len(alarms) == len(of_type("AWS::CloudWatch::Alarm"))
    for own in alarms:
        assert {"AlarmName", "AlarmDescription", "MetricName", "Threshold"} <= set(own)


def test_no_resource_shares_what_sam_writes_into() -> None:
    # It puts a resource's name into its Metadata, and paths into its Properties.
    written = [
        part
        for resource in RESOURCES.values()
        for part in (resource, resource.get("Metadata"), resource.get("Properties"))
        if part is not None
    ]

    assert len({id(part) for part in written}) == len(written)


# ── what CloudFormation makes of it ──────────────────────────────────────────────────────────────────────


def transformed(**parameters: str) -> dict[str, Any]:
    """The resources that CloudFormation makes of the template, without the caller's account."""
    template = json.loads(json.dumps(TEMPLATE))
    for resource in template["Resources"].values():
        for place in ("ContentUri", "CodeUri"):
            if place in resource.get("Properties", {}):
                resource["Properties"][place] = "s3://bucket/key"
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    template["Resources"]["HelpdeskLayer"]["Properties"]["ContentUri"] = parameters.pop("layer", "s3://b/1")
    given = {
        name: parameter.get("Default", "") for name, parameter in template["Parameters"].items()
    } | parameters
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        made = Translator({}, Parser()).translate(template, given)
    resources: dict[str, Any] = made["Resources"]
    return resources


# The functions' own logical names in the transformed template.
LAMBDA = "AWS::Lambda::Function"
OF_A_HELPDESK = {
    "Url": "https://other.example",
    "Hosts": "other.example",
    "Zone": "Europe/Berlin",
    "MarkerField": "title",
}
# A second value of each parameter, where another one is not found by counting on.
OTHERWISE: dict[str, Any] = {
    "Helpdesks": ",".join(get_args(HelpdeskName)),
    **{name: value for name in PARAMETERS for part, value in OF_A_HELPDESK.items() if name.endswith(part)},
    "KaptureClosedStatuses": "Done",
    "KapturePathVersion": "none",
    "KaptureSubStatuses": '{"paid": "CL"}',
    "KaptureIds": '{"queue": {"Support": "12"}}',
    "KaptureBodies": "object",
    "KapturePriorityField": "priority",
    "KaptureCommentsReadable": "true",
    "KaptureEscapedTexts": "true",
    "KaptureSendApiKey": "true",
    "SocialboardsTokenPath": "/oauth",
    "SocialboardsCalls": '{"status": "PUT /tickets/{ticket_id}/state"}',
    "SocialboardsTicketUrl": "https://other.example/{ticket_id}",
    "DefaultSource": "other",
    "SenderAccounts": "210987654321,109876543210",
    "SenderArns": "arn:aws:events:eu-west-1:123456789012:rule/failed-payments",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms",
    "AlarmEmail": "operator@example.com",
    "NoTrafficSeconds": 900,
    "LogRetentionDays": 14,
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "WebAclArn": "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/name/id",
    "Architecture": "x86_64",
    "ChangesWithRaw": "true",
}


def deployed(stack: str = "one", region: str = "eu-west-1", **parameters: Any) -> dict[str, Any]:
    """The resources that a deployment with these parameters makes."""
    given = {
        name: parameter.get("Default") for name, parameter in TEMPLATE["Parameters"].items()
    } | parameters
    given |= {"AWS::StackName": stack, "AWS::Region": region, "AWS::Partition": "aws"}
    resources = transformed(**{name: str(value) for name, value in parameters.items()})
    return Formation(given, TEMPLATE["Conditions"]).made(resources)


def named(resources: dict[str, Any], kind: str) -> set[str]:
    return {name for name, resource in resources.items() if resource["Type"] == kind}


def referred_to(part: Any) -> set[str]:
    """The names of all that a part of the template refers to, through conditions too."""
    names = set(re.findall(r'"(?:Ref|Condition)": "([\w:]+)"', json.dumps(part)))
    names |= set(re.findall(r"\$\{([\w:]+)", json.dumps(part)))
    names |= set(re.findall(r'"Fn::If": \["(\w+)"', json.dumps(part)))
    through = [TEMPLATE["Conditions"][name] for name in names if name in TEMPLATE["Conditions"]]
    return names | {name for condition in through for name in referred_to(condition)}


def test_what_runs_is_what_was_deployed_last_and_no_version_of_before() -> None:
    made = transformed()

    # SAM names a version without looking at parameters: behind an alias a changed one would never run.
    assert named(made, "AWS::Lambda::Version") == named(made, "AWS::Lambda::Alias") == set()
    assert all("SnapStart" not in made[name]["Properties"] for name in named(made, LAMBDA))
    assert len(named(made, LAMBDA)) == len(functions())


@pytest.fixture(scope="module")
def by_default() -> dict[str, Any]:
    return deployed()


@pytest.mark.parametrize("parameter", TEMPLATE["Parameters"])
def test_a_changed_parameter_reaches_every_function_that_is_given_it(
    parameter: str, by_default: dict[str, Any]
) -> None:
    default = TEMPLATE["Parameters"][parameter].get("Default")
    value = OTHERWISE.get(parameter, default + 60 if isinstance(default, (int, float)) else None)
    assert value not in (None, default), "give OTHERWISE another value of this parameter"

    before, after = by_default, deployed(**{parameter: value})

    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed
    shared = TEMPLATE["Globals"]["Function"]
    given = {
        name
        for name, own in of_type(FUNCTION).items()
        if parameter in referred_to([shared, {key: value for key, value in own.items() if key != "Events"}])
    }
    assert named(after, LAMBDA) & changed == given


def test_each_queue_has_a_policy_of_its_own() -> None:
    policies = of_type("AWS::SQS::QueuePolicy").values()
    for policy in policies:
        (queue,) = policy["Queues"]
        for statement in map(where_it_holds, policy["PolicyDocument"]["Statement"]):
            assert statement["Resource"] == {"Fn::GetAtt": [referred(queue), "Arn"]}
    assert sorted(referred(policy["Queues"][0]) for policy in policies) == sorted(of_type("AWS::SQS::Queue"))


def test_nobody_but_our_own_rule_sends_until_a_parameter_names_who_may() -> None:
    def allowed(**parameters: str) -> dict[str, dict[str, Any]]:
        made = deployed(**parameters)
        queue = made["RequestsQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
        bus = made["RequestsBus"]["Properties"]["Policy"].get("Statement", [])
        return {statement["Sid"]: statement for statement in [*queue, *bus] if "Sid" in statement}

    assert list(allowed()) == ["RuleDelivers"]
    accounts = allowed(SenderAccounts="210987654321,109876543210")
    listed = {"Fn::Split": [",", "210987654321,109876543210"]}
    assert accounts.keys() == {"RuleDelivers", "AccountsSend", "AccountsPut"}
    assert accounts["AccountsSend"]["Principal"] == accounts["AccountsPut"]["Principal"] == {"AWS": listed}
    rule = OTHERWISE["SenderArns"]
    senders = allowed(SenderArns=rule)["SendersDeliver"]
    assert senders["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::Split": [",", rule]}}}


# By kind: the property that names it in the account, and whether regions share the names.
NAMES = {
    "AWS::Lambda::Function": ("FunctionName", False),
    "AWS::Lambda::LayerVersion": ("LayerName", False),
    "AWS::Logs::LogGroup": ("LogGroupName", False),
    "AWS::Events::EventBus": ("Name", False),
    "AWS::Scheduler::Schedule": ("Name", False),
    "AWS::CloudWatch::Alarm": ("AlarmName", False),
    "AWS::CloudWatch::Dashboard": ("DashboardName", True),
    "AWS::ApiGateway::RestApi": ("Name", False),
    "AWS::ApiGateway::UsagePlan": ("UsagePlanName", False),
}
# Properties that are names of something else, or none in the account.
NO_NAMES = {"EventBusName", "StageName", "MetricName", "FunctionName", "PolicyName"}


def physical_names(resources: dict[str, Any]) -> set[tuple[str, str]]:
    names = set()
    for resource in resources.values():
        kind, properties = resource["Type"], resource.get("Properties", {})
        named_by = {key for key in properties if key == "Name" or key.endswith("Name")}
        expected = NAMES[kind][0] if kind in NAMES else None
        assert named_by - NO_NAMES <= {expected}, f"give NAMES the name of {kind}"
        if expected:
            names.add((kind, properties[expected]))
    return names


def test_two_stacks_live_in_one_account() -> None:
    everything = {name: value for name, value in OTHERWISE.items() if name != "AlarmTopicArn"}
    first, second = (physical_names(deployed(stack=name, **everything)) for name in ("one", "other"))

    assert {kind for kind, _ in first} == NAMES.keys()
    assert not first & second


def test_one_stack_lives_in_two_regions() -> None:
    shared = {kind for kind, (_, everywhere) in NAMES.items() if everywhere}
    here, there = (physical_names(deployed(region=region)) for region in ("eu-west-1", "eu-central-1"))

    assert not {name for name in here & there if name[0] in shared}


def test_a_recurring_request_has_the_name_of_no_schedule_of_ours() -> None:
    ours = [event["Name"]["Fn::Sub"] for _, event in events("ScheduleV2")]

    assert len(ours) == 3
    # Files of recurring requests are named without it.
    assert all(name.startswith("${AWS::StackName}_") for name in ours)


def test_the_apis_figures_come_under_the_name_of_its_alarm() -> None:
    (name,) = named(made := deployed(), "AWS::ApiGateway::RestApi")
    api = made[name]["Properties"]
    dimensions = {
        dimension["Name"]: dimension["Value"]
        for dimension in made["ApiFailingAlarm"]["Properties"]["Dimensions"]
    }

    # Which of the two it would be, were they different, is not documented.
    assert api["Name"] == api["Body"]["info"]["title"] == dimensions["ApiName"] == "one"


def test_a_web_acl_stands_before_the_api_where_one_is_named() -> None:
    assert "WebAclAssociation" not in deployed()
    made = deployed(WebAclArn=OTHERWISE["WebAclArn"])

    association = made["WebAclAssociation"]["Properties"]
    (stage,) = named(made, "AWS::ApiGateway::Stage")
    assert association["WebACLArn"] == OTHERWISE["WebAclArn"]
    assert (
        association["ResourceArn"]
        == f"arn:aws:apigateway:eu-west-1::/restapis/${{TicketApi}}/stages/${{{stage}}}"
    )


# ── what stays ───────────────────────────────────────────────────────────────────────────────────────────

KEPT = {"AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"}


def test_what_holds_requests_and_what_operators_have_put_in_stays_when_the_stack_goes() -> None:
    kept = {name: resource for name, resource in RESOURCES.items() if resource["Type"] in KEPT}

    assert {resource["Type"] for resource in kept.values()} == KEPT
    for resource in kept.values():
        # Except where its very creation is rolled back.
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


# Once deployed a block stays as it is, for ever: CloudFormation makes a new secret of a changed one, in place
# of what its operator has put there. A new secret is made as one of these is, or brings a line of its own.
FROZEN = {
    "TokenSecret": "3a28b1aaa818eabf",
    "MarkerKeySecret": "bb858ae723d6f3f5",
    "KaptureCallbackSecret": "9458f1c54e51d19a",
    "SocialboardsCallbackSecret": "9458f1c54e51d19a",
    "SocialboardsSecret": "c63493e901493e69",
}


def test_no_generated_secret_is_ever_made_anew() -> None:
    blocks = {
        name: hashlib.sha256(json.dumps(secret["GenerateSecretString"], sort_keys=True).encode())
        for name, secret in of_type("AWS::SecretsManager::Secret").items()
    }
    digests = {name: block.hexdigest()[:16] for name, block in blocks.items()}

    assert digests | FROZEN == digests
    assert {*digests.values()} == {*FROZEN.values()}


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────

# What AWS gives a new account. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
FRESH_ACCOUNT = 10
CALLED = {"ticket_api.handler", "form_intake.handler", "callbacks.handler"}


def reserved(made: dict[str, Any]) -> dict[str, int]:
    """Concurrency that only the named function may use."""
    counts = {
        name: resource["Properties"].get("ReservedConcurrentExecutions") for name, resource in made.items()
    }
    return {name: count for name, count in counts.items() if count not in (None, {"Ref": "AWS::NoValue"})}


def test_a_fresh_account_runs_the_defaults() -> None:
    made = deployed()
    batches = [
        resource["Properties"]["ScalingConfig"]["MaximumConcurrency"]
        for resource in made.values()
        if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    ]
    by_the_clock = [
        name
        for name, resource in made.items()
        if resource["Type"] == "AWS::Scheduler::Schedule"
        and resource["Properties"].get("State") != "DISABLED"
        and name.startswith(tuple(functions()))
    ]
    called = [name for name, resource in functions().items() if resource["Handler"] in CALLED]

    assert len(called) == len(CALLED)
    assert sum(batches) + len(by_the_clock) + len(called) <= FRESH_ACCOUNT
    # Nothing can be reserved there: a hundred must stay unreserved.
    assert reserved(made) == {}


def test_concurrency_can_be_reserved_for_what_is_called() -> None:
    assert reserved(deployed(ApiConcurrency=40, FormConcurrency=20)) == {
        "TicketApiFunction": 40,
        "FormIntakeFunction": 20,
        "CallbacksFunction": 20,
    }


def test_a_run_by_the_clock_that_finds_no_place_does_not_outlive_the_next() -> None:
    rates = {"rate(1 minute)": 60, "rate(1 hour)": 3600}
    for function, event in events("ScheduleV2"):
        assert function["EventInvokeConfig"] == {
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": rates[event["ScheduleExpression"]],
        }
