"""What the emulator leaves out of a deployment and AWS does not, put in place after each one.

The template stays as AWS wants it. Seen with MiniStack 1.5.33.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.aws import AwsClients

_ANY = "x-amazon-apigateway-any-method"
_GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"
# On AWS these allow the batch call too.
_BATCHED = {"sns:Publish", "sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
_FUNCTION_OF_URI = re.compile(r"\$\{(?P<function>\w+)\.Arn\}")


def fill(aws: AwsClients, stack_name: str) -> None:
    """Complete the deployed stack; doing it again changes nothing."""
    template: dict[str, Any] = aws.cloudformation.get_template(
        StackName=stack_name, TemplateStage="Processed"
    )["TemplateBody"]
    deployed = aws.cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    ids = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in deployed}
    for name, resource in template["Resources"].items():
        if name not in ids:
            # Its condition does not hold.
            continue
        if resource["Type"] == "AWS::ApiGateway::RestApi":
            _complete_api(aws, ids[name], resource["Properties"]["Body"], ids)
        elif resource["Type"] == "AWS::IAM::Role":
            _complete_role(aws, ids[name])
        elif resource["Type"] == "AWS::DynamoDB::Table":
            _let_items_expire(aws, ids[name], resource["Properties"]["TimeToLiveSpecification"])
        elif resource["Type"] == "AWS::SecretsManager::Secret":
            _make_secret_anew(aws, ids[name], resource["Properties"]["GenerateSecretString"])
    _make_concurrency_a_number(aws)


def _complete_role(aws: AwsClients, role: str) -> None:
    """A Ref of a secret gives its name and not its ARN; batch calls are actions of their own."""
    for name in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]:
        policy = aws.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in policy["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            statement["Action"] = sorted({*actions, *(f"{action}Batch" for action in _BATCHED & {*actions})})
            if actions == ["secretsmanager:GetSecretValue"]:
                named = statement["Resource"]
                statement["Resource"] = [
                    _arn_of_secret(aws, secret) for secret in (named if isinstance(named, list) else [named])
                ]
        aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


def _let_items_expire(aws: AwsClients, table: str, specification: Mapping[str, Any]) -> None:
    """A table's time to live is left out."""
    life = aws.dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if life["TimeToLiveStatus"] != "ENABLED":
        aws.dynamodb.update_time_to_live(
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": specification["AttributeName"]},
        )


def _make_secret_anew(aws: AwsClients, secret: str, generation: Mapping[str, Any]) -> None:
    """ExcludePunctuation is not heeded, which breaks a secret that stands in a path."""
    versions = aws.secretsmanager.describe_secret(SecretId=secret)["VersionIdsToStages"]
    if not generation.get("ExcludePunctuation") or len(versions) > 1:
        return
    password = aws.secretsmanager.get_random_password(
        PasswordLength=int(generation.get("PasswordLength", 32)), ExcludePunctuation=True
    )["RandomPassword"]
    content = json.loads(generation["SecretStringTemplate"]) | {generation["GenerateStringKey"]: password}
    aws.secretsmanager.put_secret_value(SecretId=secret, SecretString=json.dumps(content))


def _arn_of_secret(aws: AwsClients, name_or_arn: str) -> str:
    if ":" in name_or_arn:
        return name_or_arn
    return aws.secretsmanager.describe_secret(SecretId=name_or_arn)["ARN"]


def _make_concurrency_a_number(aws: AwsClients) -> None:
    """A MaximumConcurrency that refers to a parameter stays text, which stops every poll of the queue."""
    for mapping in aws.lambda_.list_event_source_mappings()["EventSourceMappings"]:
        if "ScalingConfig" in mapping:
            limit = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            aws.lambda_.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": limit}
            )


def _complete_api(aws: AwsClients, api_id: str, body: Mapping[str, Any], ids: Mapping[str, str]) -> None:
    """The import of an API skips methods that stand for every verb, and custom gateway responses."""
    resources = aws.apigateway.get_resources(restApiId=api_id, limit=500)["items"]
    by_path = {resource["path"]: resource for resource in resources}
    for path, operations in body["paths"].items():
        resource = by_path[path]
        if _ANY in operations and "ANY" not in resource.get("resourceMethods", {}):
            _put_any(aws, api_id, resource["id"], operations[_ANY], ids)
    for kind, response in body.get(_GATEWAY_RESPONSES, {}).items():
        aws.apigateway.put_gateway_response(restApiId=api_id, responseType=kind, **response)
    for stage in aws.apigateway.get_stages(restApiId=api_id)["item"]:
        name = stage["stageName"]
        aws.apigateway.create_deployment(restApiId=api_id, stageName=name)
        # Its addresses hold more than the stage, and no event says so to the function.
        variable = {"op": "replace", "path": "/variables/base_path", "value": base_path(api_id, name)}
        aws.apigateway.update_stage(restApiId=api_id, stageName=name, patchOperations=[variable])


def base_path(api_id: str, stage: str) -> str:
    """What stands before an API's own paths: so no Host header and no DNS entry is needed."""
    return f"/_aws/execute-api/{api_id}/{stage}"


def _put_any(
    aws: AwsClients, api_id: str, resource_id: str, operation: Mapping[str, Any], ids: Mapping[str, str]
) -> None:
    wants_key = any("api_key" in requirement for requirement in operation.get("security", []))
    where = {"restApiId": api_id, "resourceId": resource_id, "httpMethod": "ANY"}
    aws.apigateway.put_method(**where, authorizationType="NONE", apiKeyRequired=wants_key)
    integration = operation["x-amazon-apigateway-integration"]
    match = _FUNCTION_OF_URI.search(integration["uri"]["Fn::Sub"])
    if match is None:
        raise ValueError(f"no function in {integration}")
    function = aws.lambda_.get_function(FunctionName=ids[match["function"]])["Configuration"]
    service = f"arn:aws:apigateway:{aws.session.region_name}:lambda:path/2015-03-31/functions"
    aws.apigateway.put_integration(
        **where,
        type="AWS_PROXY",
        integrationHttpMethod="POST",
        uri=f"{service}/{function['FunctionArn']}/invocations",
    )
