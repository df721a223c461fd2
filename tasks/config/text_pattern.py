"""Validate texts against patterns, with messages in words rather than regular expressions."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class TextPattern:
    """Annotation of a text that must match a pattern as a whole. Input forms check it, too."""

    pattern: str
    rule: str  # what the text must be, as the message says it

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that also checks the pattern."""
        return core_schema.no_info_after_validator_function(self._matching, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a JSON schema with the pattern."""
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _matching(self, text: str) -> str:
        """Return the text if it matches the pattern."""
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.rule)
        return text
