"""Moto and the SDK without the work that they do anew for every call, always to the same end.

Most of a functional test's time is theirs. Nothing that they check or answer changes.
"""

import pickle
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import botocore.session
import moto.core.models
import moto.core.responses
from botocore import hooks
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.dynamodb.parsing import ast_nodes, expressions, validators

# None of these has types.
_HOOKS: Any = hooks
_NODES: Any = ast_nodes
_EXPRESSIONS: Any = expressions
_VALIDATORS: Any = validators

_CACHED: tuple[tuple[Any, str], ...] = (
    # Each test has sessions of its own, and each would look for the SDK's models and parse them again.
    (botocore.session, "create_loader"),
    (moto.core.responses, "method_names_from_class"),
)


def apply() -> None:
    """For the whole process."""
    for place, name in _CACHED:
        setattr(place, name, cache(getattr(place, name)))
    _share_event_names()
    # For calls of AWS through `requests`, of which there are none: 1,300 patterns for each mock.
    moto.core.models.RESPONSES_METHODS.clear()
    _share_keys_of_attributes()
    _walk_expressions_less()


def _share_event_names() -> None:
    aliaser = _HOOKS.EventAliaser(None)
    shared = cache(aliaser._alias_event_name)
    _HOOKS.EventAliaser._alias_event_name = lambda _, name: shared(name)


def _share_keys_of_attributes() -> None:
    """Under which keys a member of an answer may be found depends on its shape and its object's class."""
    by_itself = XFormedAttributePicker.get_possible_keys
    known: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def keys(picker: XFormedAttributePicker, context: AttributePickerContext) -> Iterator[str]:
        place = (type(context.obj), context.shape, context.key)
        if place not in known:
            known[place] = tuple(dict.fromkeys(by_itself(picker, context)))
        return iter(known[place])

    XFormedAttributePicker.get_possible_keys = keys  # type: ignore[method-assign,assignment]


def _walk_expressions_less() -> None:
    """An update's expression is walked ten times."""
    make = _EXPRESSIONS.UpdateExpressionParser.make

    @cache
    def made(text: str) -> Any:
        expression = make(text)
        expression.text = text
        return expression

    _EXPRESSIONS.UpdateExpressionParser.make = made
    # Each update gets a copy of it.
    _VALIDATORS.deepcopy = lambda node: pickle.loads(pickle.dumps(node))
    for kind in (_VALIDATORS.ActionCountValidator, _VALIDATORS.OverlappingPathsValidator):
        kind.traverse = _once(kind.traverse)
    _NODES.DepthFirstTraverser.traverse_node_recursively = _walk


def _once(check: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A check that looks at nothing but the expression's text and the names in it, and changes nothing."""
    passed: set[tuple[Any, ...]] = set()

    def traverse(traverser: Any, node: Any) -> Any:
        names = getattr(traverser, "expression_attribute_names", None) or {}
        key = (node.text, *sorted(names.items()))
        if key not in passed:
            check(traverser, node)
            passed.add(key)
        return node

    return traverse


def _walk(traverser: Any, node: Any, child_id: int = -1) -> Any:
    """As moto does it, but each pair of classes is compared once."""
    if not _is_node(type(node)):
        return node
    parent = node.parent
    for place, child in enumerate(node.children or ()):
        traverser.pre_processing_of_child(node, place)
        _walk(traverser, child, place)
    if _is_processed(type(node), traverser):
        node = traverser.process(node)
        node.parent = parent
        if parent:
            parent.children[child_id] = node
    return node


_is_node: Any = cache(lambda kind: issubclass(kind, _NODES.Node))
_processed: dict[tuple[type, type], bool] = {}


def _is_processed(kind: type, traverser: Any) -> bool:
    pair = (kind, type(traverser))
    if pair not in _processed:
        _processed[pair] = issubclass(kind, traverser.nodes_to_be_processed())
    return _processed[pair]
