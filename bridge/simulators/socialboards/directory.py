"""Whom and what a simulated Socialboards account knows: teammates, categories, custom fields.

Ids and names are those of the vendor's samples where there are any, so that sample requests work.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from bridge.simulators.socialboards.tickets import Category, CustomField, Person, Teammate

if TYPE_CHECKING:
    from collections.abc import Iterable

ROBERT = Teammate(
    id="43b8adc7-755d-2be3-afb1-b6a462631977",
    name="Robert Baker",
    email="robert.baker@example.com",
    status="team",
    role="admin",
    groups=(1,),
)
STAFF = Teammate(
    id="31aee6af-3e38-40d9-98b1-aa2b9238f24d",
    name="Staff name",
    email="staffEmailLogin@domain.com",
    status="team",
    role="admin",
    groups=(1, 2),
)
READER = Teammate(
    id="841c30d5-6ae4-4df1-939e-04c55aed5e98",
    name="William Shakespeare",
    email="william.shakespeare@example.com",
    status="team",
    role="read_only_user",
)
TEAMMATES = (ROBERT, STAFF, READER)
API_USER = Person(id="513840d3-a2fb-4b16-8381-9afeb6cf5993", name="Public API", status="team")
"""Does what is asked for in nobody's name (inferred)."""

CATEGORIES = (
    Category(15597, "Customers"),
    Category(15721, "Other cases"),
    Category(23445, "Sales"),
    Category(33527, "Delivery"),
    Category(34016, "005"),
)
REGION = CustomField(
    id=42623, name="Shop region", type="region", possible_values=("Østfold", "Akershus", "Oslo")
)
CHOICE = CustomField(id=18464, name="Option", type="list", possible_values=("Option 1", "Option 2"))
REFERENCE = CustomField(id=51200, name="Reference", type="text")
CUSTOM_FIELDS = (REGION, CHOICE, REFERENCE)
USER_GROUPS = (Category(1, "First line"), Category(2, "Second line"))

_UNASSIGNABLE_ROLES = {"read_only_user"}


class ErrorCode(IntEnum):
    """Ours: the vendor's list is not known, only that -1 is success."""

    SUCCESS = -1
    INVALID = 1
    NOT_FOUND = 2
    CONFLICT = 3
    UNAUTHORIZED = 4

    @property
    def http_status(self) -> int:
        """The one that suits the cause."""
        return {self.SUCCESS: 200, self.INVALID: 400, self.NOT_FOUND: 404, self.CONFLICT: 409}.get(self, 401)


class RefusedError(Exception):
    """The account refuses the call. All texts are ours."""

    def __init__(self, text: str, code: ErrorCode = ErrorCode.INVALID) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def client(*, email: str | None, custom_identifier: str | None, name: str, image: str | None) -> Person:
    """A customer; the same e-mail, or else the same identifier, is the same person (documented for chats)."""
    identifier = custom_identifier.strip().lower() if custom_identifier else None
    key = (email or "").lower() or identifier
    return Person(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, key) if key else uuid.uuid4()),
        name=name,
        email=email,
        image=image,
        custom_identifier=identifier,
    )


@dataclass(frozen=True)
class Directory:
    """Looks things up. What is unknown is refused, or where `lenient` made up: neither is documented."""

    lenient: bool

    def assignee(self, assignee_id: str) -> Person:
        """Who can be assigned. Raises RefusedError for readers as well, who cannot be (documented)."""
        for teammate in TEAMMATES:
            if teammate.id == assignee_id.lower():
                if teammate.role in _UNASSIGNABLE_ROLES:
                    raise RefusedError(f"A {teammate.role} cannot be assigned")
                return teammate
        self._refuse_unless_lenient("assignee")
        return Person(id=assignee_id.lower(), name="Unknown", status="team")

    def author(self, email: str | None) -> Person:
        """Whose login this is; nobody's is the API's own."""
        if email is None:
            return API_USER
        for teammate in TEAMMATES:
            if (teammate.email or "").lower() == email.lower():
                return teammate
        self._refuse_unless_lenient("author")
        name = email.partition("@")[0]
        return Person(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, email.lower())), name=name, email=email, status="team"
        )

    def category(self, category_id: int) -> Category:
        """The category with this id."""
        for category in CATEGORIES:
            if category.id == category_id:
                return category
        self._refuse_unless_lenient("category")
        return Category(category_id, f"Category {category_id}")

    def custom_field(self, field_id: int) -> CustomField:
        """The custom field with this id."""
        for custom_field in CUSTOM_FIELDS:
            if custom_field.id == field_id:
                return custom_field
        self._refuse_unless_lenient("custom field")
        return CustomField(id=field_id, name=f"Field {field_id}", type="text")

    def values(self, pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
        """Values by the ids of their fields, all of which must be known."""
        return {self.custom_field(field_id).id: value for field_id, value in pairs}

    def _refuse_unless_lenient(self, what: str) -> None:
        if not self.lenient:
            raise RefusedError(f"Unknown {what}")
