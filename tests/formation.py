"""What CloudFormation does with a template: parameters, conditions and its own names take their values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Formation:
    """Values by the names that a template refers to, and its conditions."""

    values: Mapping[str, Any]
    conditions: Mapping[str, Any]

    def holds(self, condition: Any) -> bool:
        """Whether a condition does."""
        ((verb, of),) = condition.items()
        match verb:
            case "Condition":
                return self.holds(self.conditions[of])
            case "Fn::Not":
                return not self.holds(of[0])
            case "Fn::And":
                return all(map(self.holds, of))
            case "Fn::Or":
                return any(map(self.holds, of))
        assert verb == "Fn::Equals"
        first, second = self.resolved(of)
        return str(first) == str(second)

    def resolved(self, part: Any) -> Any:
        """A part of the template with all that is known put in; what refers to resources stays as it is."""
        if isinstance(part, list):
            return [self.resolved(item) for item in part]
        if not isinstance(part, dict):
            return part
        match list(part.items()):
            case [("Ref", name)]:
                return self.values.get(name, part)
            case [("Fn::If", [condition, then, otherwise])]:
                return self.resolved(then if self.holds(self.conditions[condition]) else otherwise)
            case [("Fn::Sub", [text, own])]:
                return self._filled(text, dict(self.values) | self.resolved(own))
            case [("Fn::Sub", text)]:
                return self._filled(text, self.values)
        return {name: self.resolved(value) for name, value in part.items()}

    def made(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """The resources whose condition holds."""
        return {
            name: self.resolved(resource)
            for name, resource in resources.items()
            if "Condition" not in resource or self.holds(self.conditions[resource["Condition"]])
        }

    @staticmethod
    def _filled(text: str, known: Mapping[str, Any]) -> str:
        return re.sub(r"\$\{([\w:]+)\}", lambda match: str(known.get(match[1], match[0])), text)
