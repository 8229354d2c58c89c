"""A table as its JSON Schema describes it: the columns that every peer writes and what each is to check.

A schema that asks for more than the peers check is refused here: they must not look fast by doing less than was asked.
What they cannot do stands in README.md beside this file.
"""

import json
from dataclasses import dataclass

# The same for every row, as on our side.
STREAM, SHARD, ARRIVED_US = "events", "shardId-000000000000", 1_795_000_000_000_000
# Rows in a row group, where a peer asks: DuckDB's default.
GROUP = 122_880
KNOWN = {"type", "format", "x-column", "enum", "minimum", "maximum", "minLength", "maxLength", "title", "description"}
UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
TEXTS = {"date-time": "time", "date": "date"}
KINDS = {"integer": "integer", "number": "number", "boolean": "boolean"}
OPENING = {"object": "{", "array": "["}


@dataclass
class Column:
    """A member of an event, and the column it becomes."""

    member: str
    name: str
    # text, integer, number, boolean, time, date or json.
    kind: str
    nullable: bool
    # For json: the types it may have.
    types: list
    enum: list
    minimum: float
    maximum: float
    min_length: int
    max_length: int
    pattern: str

    def openings(self):
        """What JSON text of its types begins with; empty when it may be anything."""
        known = [OPENING[kind] for kind in self.types if kind in OPENING]
        return known if len(known) == len(self.types) else []


def columns(schema):
    """The data columns of the schema in this file, in its order."""
    with open(schema, encoding="utf-8") as text:
        root = json.load(text)
    required = set(root.get("required", []))
    return [column(member, rules, member in required) for member, rules in root["properties"].items()]


def column(member, rules, required):
    if unknown := rules.keys() - KNOWN:
        raise SystemExit(f"the peers do not check {sorted(unknown)} of `{member}`")
    types = rules.get("type", [])
    types = types if isinstance(types, list) else [types]
    essential = [kind for kind in types if kind != "null"]
    only, form = (essential[0] if len(essential) == 1 else "json"), rules.get("format")
    kind = TEXTS.get(form, "text") if only == "string" else KINDS.get(only, "json")
    if form not in (None, "date-time", "date", "uuid"):
        raise SystemExit(f"the peers do not check the format `{form}` of `{member}`")
    return Column(
        member=member,
        name=rules.get("x-column", member),
        kind=kind,
        nullable=not required or not types or "null" in types,
        types=essential,
        enum=[value for value in rules.get("enum", []) if value is not None],
        minimum=rules.get("minimum"),
        maximum=rules.get("maximum"),
        min_length=rules.get("minLength"),
        max_length=rules.get("maxLength"),
        pattern=UUID if form == "uuid" else None,
    )
