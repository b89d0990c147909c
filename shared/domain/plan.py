"""Straight ways through a marshmallow schema, made once from what it declares.

marshmallow looks at every option of every field again for every value. A plan has looked: it
keeps the fields' own rules and leaves out the search for them. See deploy/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, missing
from marshmallow.decorators import POST_LOAD
from marshmallow.utils import get_value

Step = Callable[[Any], Any]


def loading(schema: Schema) -> Step:
    """From plain data to what ``schema.load`` gives.

    What the plan does not surely accept raises `ValidationError` without a reason: ``schema.load``
    has the last word and the words.
    """
    if schema.unknown != RAISE or schema.many or _has_hooks(schema, but=POST_LOAD):
        return _unsure
    ways = [
        (_key(name, field), field.attribute or name, _loaded(field), _absent(field))
        for name, field in schema.load_fields.items()
    ]
    finish = _finishing(schema)

    def load(data: Any) -> Any:
        if type(data) is not dict:
            raise ValidationError("not surely an object")
        found, seen = {}, 0
        for key, attribute, step, absent in ways:
            if key in data:
                found[attribute] = step(data[key])
                seen += 1
            elif (default := absent()) is not missing:
                found[attribute] = default
        if seen < len(data):
            raise ValidationError("there are unknown keys")
        return finish(found)

    return load


def dumping(schema: Schema) -> Step:
    """From a noun or a dictionary to what ``schema.dump`` gives."""
    if schema.many or _has_hooks(schema, but=POST_LOAD):
        return schema.dump
    ways = [
        (_key(name, field), field.attribute or name, _dumped(field), field.dump_default)
        for name, field in schema.dump_fields.items()
    ]

    def dump(noun: Any) -> dict[str, Any]:
        read, found = _reader(noun), {}
        for key, name, step, default in ways:
            if (value := read(noun, name, default)) is not missing:
                found[key] = step(value)
        return found

    return dump


def _has_hooks(schema: Schema, *, but: str) -> bool:
    """Whether a method of the schema has a say, beside those that end a load."""
    return any(found for tag, found in schema._hooks.items() if tag != but)  # noqa: SLF001 - marshmallow tells nowhere else


def _finishing(schema: Schema) -> Step:
    """What the schema does with the loaded values: a noun calls its constructor."""
    names = [name for name, *_ in schema._hooks[POST_LOAD]]  # noqa: SLF001 - as above
    if not names:
        return _same
    if len(names) > 1:
        return _unsure
    finish = getattr(schema, names[0])
    return lambda found: finish(found, many=False, partial=None, unknown=RAISE)


def _key(name: str, field: fields.Field[Any]) -> str:
    return name if field.data_key is None else field.data_key


def _absent(field: fields.Field[Any]) -> Callable[[], Any]:
    """What stands for a key that is not there."""
    default = field.load_default
    if field.required:
        return _unsure
    return default if callable(default) else lambda: default


def _loaded(field: fields.Field[Any]) -> Step:
    """The value of one field, with its validators; null where it may be."""
    if field.pre_load or field.post_load:
        return _unsure
    step, checks, may_be_null = _loaded_bare(field), field.validators, field.allow_none
    if not checks and not may_be_null:
        return step

    def load(value: Any) -> Any:
        if value is None and may_be_null:
            return None
        found = step(value)
        for check in checks:
            check(found)
        return found

    return load


def _loaded_bare(field: fields.Field[Any]) -> Step:
    if type(field) is fields.String:
        return _text
    if type(field) is fields.Nested:
        return _unsure if field.many or field.unknown else loading(_nested(field))
    if (inner := _inner(field)) is not None:
        return _loaded_list(_loaded(inner), getattr(field, "gather", _same))
    if type(field) is fields.Dict:
        return _loaded_map(field)
    return lambda value: field._deserialize(_not_null(value), None, None)  # noqa: SLF001 - what each field class is there for


def _loaded_list(step: Step, gather: Step) -> Step:
    def load(value: Any) -> Any:
        if type(value) is not list:
            raise ValidationError("not surely a list")
        return gather(list(map(step, value)))

    return load


def _loaded_map(field: fields.Dict) -> Step:
    on_key = _same if field.key_field is None else _loaded(field.key_field)
    on_value = _same if field.value_field is None else _loaded(field.value_field)

    def load(value: Any) -> Any:
        if type(value) is not dict:
            raise ValidationError("not surely a map")
        return {on_key(key): on_value(item) for key, item in value.items()}

    return load


def _dumped(field: fields.Field[Any]) -> Step:
    if type(field) is fields.String:
        return lambda value: value if type(value) is str else _serialized(field, value)
    if type(field) is fields.Nested and not field.many:
        step = dumping(_nested(field))
        return lambda value: None if value is None else step(value)
    if (inner := _inner(field)) is not None:
        each = _dumped(inner)
        return lambda value: None if value is None else list(map(each, value))
    if type(field) is fields.Dict:
        return _dumped_map(field)
    return lambda value: _serialized(field, value)


def _dumped_map(field: fields.Dict) -> Step:
    on_key = _same if field.key_field is None else _dumped(field.key_field)
    on_value = _same if field.value_field is None else _dumped(field.value_field)

    def dump(value: Any) -> Any:
        if type(value) is not dict:
            return _serialized(field, value)
        return {on_key(key): on_value(item) for key, item in value.items()}

    return dump


def _serialized(field: fields.Field[Any], value: Any) -> Any:
    return field._serialize(value, None, None)  # noqa: SLF001 - as `_deserialize` above


def _reader(noun: Any) -> Callable[[Any, str, Any], Any]:
    """How to get at a named value of this noun, or a default."""
    if type(noun) is dict:
        return dict.get
    return get_value if hasattr(noun, "__getitem__") else getattr


def _inner(field: fields.Field[Any]) -> fields.Field[Any] | None:
    """The field of the items, where it is a list as we know it; ``gather`` makes it a tuple."""
    is_known = type(field) is fields.List or hasattr(field, "gather")
    return field.inner if isinstance(field, fields.List) and is_known else None


def _nested(field: fields.Nested) -> Schema:
    schema: Schema = field.schema
    return schema


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValidationError("not surely text")
    return value


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValidationError("surely not null")
    return value


def _same(value: Any) -> Any:
    return value


def _unsure(*_: Any) -> Any:
    raise ValidationError("marshmallow has to look")
