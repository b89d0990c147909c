"""A plan says what marshmallow says, for every schema that travels and for data of any shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate, validates

from services.classifier.answer import AnswerSchema
from shared.bus.envelope import EnvelopeSchema
from shared.domain.change import ChangeSchema
from shared.domain.ledger import LedgerEntrySchema
from shared.domain.plan import dumping, loading
from shared.domain.proposal import ProposalSchema
from shared.domain.record import RecordRefSchema
from shared.domain.schema import Instant, ScalarField, Whole, load, schema_of
from shared.domain.topics import TOPICS
from shared.errors import BadPayload

SCHEMAS = sorted(
    {row.schema for row in TOPICS.values()}
    | {AnswerSchema, EnvelopeSchema, LedgerEntrySchema, ProposalSchema},
    key=lambda schema: schema.__name__,
)
TEXT = st.text(min_size=1, max_size=8)
SCALAR = st.none() | TEXT | st.booleans() | st.integers(-(10**6), 10**6)
ODD = st.sampled_from(
    [
        None,
        "",
        "x" * 201,
        0,
        -1,
        10**20,
        1.5,
        True,
        "1",
        "true",
        [],
        {},
        [None],
        {"a": None},
        (),
        b"",
    ]
)


def fitting(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that the field takes, in the way its class says."""
    for check in field.validators:
        if isinstance(check, validate.OneOf):
            return st.sampled_from(list(check.choices))
    if isinstance(field, fields.Nested):
        return objects(field.schema, fitting)
    if isinstance(field, fields.List):
        return st.lists(fitting(field.inner), min_size=1, max_size=2)
    if isinstance(field, fields.Dict):
        values = SCALAR if field.value_field is None else fitting(field.value_field)
        return st.dictionaries(TEXT, values, max_size=3)
    if isinstance(field, fields.Enum):
        return st.sampled_from([member.value for member in field.enum])
    if isinstance(field, Instant):
        return st.sampled_from(["2026-03-01T09:00:00.000Z", "2026-03-01T10:00:00+01:00"])
    kinds = {Whole: st.integers(0, 1000), ScalarField: SCALAR, fields.Boolean: st.booleans()}
    return kinds.get(type(field), TEXT)


@st.composite
def anything(draw: st.DrawFn, field: fields.Field[Any]) -> Any:
    """Mostly what fits: one wrong value in an otherwise right message is the hard case."""
    if draw(st.integers(0, 15)) == 15:
        return draw(ODD)
    return draw(
        objects(field.schema, anything) if isinstance(field, fields.Nested) else fitting(field)
    )


@st.composite
def objects(draw: st.DrawFn, schema: Schema, values: Any) -> dict[str, Any]:
    """Data for a schema; with ``anything`` keys may be missing, unknown, or of another kind."""
    data = {
        field.data_key or name: draw(values(field))
        for name, field in schema.load_fields.items()
        if field.required or draw(st.booleans())
    }
    if values is anything and data and draw(st.integers(0, 3)) == 0:
        data.pop(draw(st.sampled_from(sorted(data))))
    if values is anything and draw(st.integers(0, 3)) == 0:
        data[draw(TEXT)] = draw(ODD)
    return data


def said_by_marshmallow(schema: Schema, data: Any) -> Any:
    try:
        return schema.load(data)
    except ValidationError:
        return ValidationError


@settings(max_examples=200, deadline=None)
@given(schema=st.sampled_from(SCHEMAS), data=st.data())
def test_what_fits_is_loaded_and_dumped_as_marshmallow_does_it(
    schema: type[Schema], data: st.DataObject
) -> None:
    declared = schema_of(schema)
    given_ = data.draw(objects(declared, fitting))
    noun = loading(declared)(given_)
    assert repr(noun) == repr(declared.load(given_))
    assert repr(dumping(declared)(noun)) == repr(declared.dump(noun))


@settings(max_examples=300, deadline=None)
@given(schema=st.sampled_from(SCHEMAS), data=st.data())
def test_a_plan_accepts_nothing_that_marshmallow_refuses(
    schema: type[Schema], data: st.DataObject
) -> None:
    declared = schema_of(schema)
    given_ = data.draw(objects(declared, anything) | ODD)
    judged = said_by_marshmallow(declared, given_)
    try:
        noun = loading(declared)(given_)
    except ValidationError:
        noun = None
    assert noun is None or repr(noun) == repr(judged)
    if judged is ValidationError:
        with pytest.raises(BadPayload):
            load(schema, given_)
    else:
        assert repr(load(schema, given_)) == repr(judged)


def test_an_unknown_key_is_refused_by_its_name() -> None:
    with pytest.raises(BadPayload, match="RecordRefSchema: more: Unknown field"):
        load(RecordRefSchema, {"crm": "demo", "type": "a", "id": "1", "more": 1})


class _Trimmed(Schema):
    name = fields.String(required=True)

    @pre_load
    def trim(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"name": data["name"].strip()}


class _Checked(Schema):
    name = fields.String(required=True)

    @validates("name")
    def refuse(self, *_: Any, **__: Any) -> None:
        raise ValidationError("never")


class _Tolerant(Schema):
    name = fields.String(required=True)


class _Shorter(Schema):
    name = fields.String(required=True, post_load=[str.strip])


@pytest.mark.parametrize(
    "schema", [_Trimmed(), _Checked(), _Tolerant(unknown=EXCLUDE), _Shorter(), _Tolerant(many=True)]
)
def test_what_a_plan_does_not_know_is_left_to_marshmallow(schema: Schema) -> None:
    with pytest.raises(ValidationError, match="marshmallow has to look"):
        loading(schema)({"name": " Ann "})


def test_a_change_is_dumped_and_never_loaded() -> None:
    assert dumping(schema_of(ChangeSchema))({"id": "c"}) == schema_of(ChangeSchema).dump(
        {"id": "c"}
    )
