"""Whom and what a simulated Socialboards account knows: teammates, categories, custom fields.

Ids and names are those of the vendor's samples where there are any, so that sample requests work.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from bridge.simulators.socialboards.tickets import Category, CustomField, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

ROBERT = Person(
    id="43b8adc7-755d-2be3-afb1-b6a462631977",
    name="Robert Baker",
    email="robert.baker@example.com",
    status="team",
)
STAFF = Person(
    id="31aee6af-3e38-40d9-98b1-aa2b9238f24d",
    name="Staff name",
    email="staffEmailLogin@domain.com",
    status="team",
)
API_USER = Person(id="513840d3-a2fb-4b16-8381-9afeb6cf5993", name="Public API", status="team")
"""Does what no author is named for (inferred)."""

REGION = CustomField(
    id=42623, name="Shop region", type="region", possible_values=("Østfold", "Akershus", "Oslo")
)
REFERENCE = CustomField(id=51200, name="Reference", type="text")

# Documented: teammates with the role read_only_user cannot be assigned. None of these has it.
_TEAMMATES = {person.id: person for person in (ROBERT, STAFF)}
_LOGINS = {(person.email or "").lower(): person for person in (ROBERT, STAFF)}
_CATEGORIES = {
    15597: Category(15597, "Customers"),
    15721: Category(15721, "Other cases"),
    23445: Category(23445, "Sales"),
    33527: Category(33527, "Delivery"),
    34016: Category(34016, "005"),
}
_CUSTOM_FIELDS = {REGION.id: REGION, REFERENCE.id: REFERENCE}


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


def customer(*, email: str | None, custom_identifier: str | None, name: str, image: str | None) -> Person:
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
        """Who can be assigned; the case of an id does not count."""
        unknown = Person(id=assignee_id.lower(), name="Unknown", status="team")
        return self._known("assignee", _TEAMMATES, assignee_id.lower(), unknown)

    def author(self, email: str | None) -> Person:
        """Whose login this is; nobody's is the API's own."""
        if email is None:
            return API_USER
        person_id = str(uuid.uuid5(uuid.NAMESPACE_URL, email.lower()))
        unknown = Person(id=person_id, name=email.partition("@")[0], email=email, status="team")
        return self._known("author", _LOGINS, email.lower(), unknown)

    def category(self, category_id: int) -> Category:
        unknown = Category(category_id, f"Category {category_id}")
        return self._known("category", _CATEGORIES, category_id, unknown)

    def custom_field(self, field_id: int) -> CustomField:
        unknown = CustomField(id=field_id, name=f"Field {field_id}", type="text")
        return self._known("custom field", _CUSTOM_FIELDS, field_id, unknown)

    def _known[KeyT, KnownT](
        self, what: str, table: Mapping[KeyT, KnownT], key: KeyT, unknown: KnownT
    ) -> KnownT:
        if key not in table and not self.lenient:
            raise RefusedError(f"Unknown {what}")
        return table.get(key, unknown)
