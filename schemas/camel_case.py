"""Fields named as Python names them, keys as JavaScript does."""

from typing import Any

from marshmallow import Schema, fields


class CamelCaseSchema(Schema):
    """``display_name`` here is ``displayName`` in JSON."""

    def on_bind_field(self, field_name: str, field_obj: "fields.Field[Any]") -> None:
        """Give the field its key; marshmallow calls this once for each."""
        head, *tail = field_name.split("_")
        field_obj.data_key = head + "".join(part.capitalize() for part in tail)
