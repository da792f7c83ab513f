"""What a device may put under the seal: any bytes at all."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_node.tree.request import AskedFor, read_request
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha.envelope_pb2 import Choices, Message, RequestBody, Tool, ToolCall

TEXT = st.text(max_size=40)
JSON_LIKE = st.sampled_from(
    ['{"type": "object"}', '{"type": "integer"}', "[1]", "{}", "", "null", "[[[[", '{"$ref": "#"}']
)
CALLS = st.builds(ToolCall, id=TEXT, name=TEXT, arguments=JSON_LIKE | TEXT)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool", ""]) | TEXT,
    text=TEXT,
    tool_calls=st.lists(CALLS, max_size=3),
    tool_call_id=TEXT,
)
TOOLS = st.builds(Tool, name=TEXT, description=TEXT, parameters=JSON_LIKE | TEXT)
FORMS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"json_schema": JSON_LIKE | TEXT}),
    st.fixed_dictionaries({"regex": TEXT}),
    st.fixed_dictionaries({"choices": st.builds(Choices, choice=st.lists(TEXT, max_size=4))}),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Of the right kind, with fields of any value."""
    body = RequestBody(
        messages=draw(st.lists(MESSAGES, max_size=4)),
        tools=draw(st.lists(TOOLS, max_size=3)),
        stop=draw(st.lists(TEXT, max_size=3)),
        max_tokens=draw(st.integers(0, 2**32 - 1)),
        temperature=draw(st.floats(width=32)),
        top_p=draw(st.floats(width=32)),
        tool_choice=draw(st.integers(-3, 9)),
        shape=draw(st.integers(-3, 9)),
        **draw(FORMS),
    )
    return body.SerializeToString()


def judged(body: bytes) -> AskedFor | RefusalCode:
    try:
        return read_request(body)
    except CloudRefused as error:
        return error.refusal


@given(st.binary(max_size=300))
def test_noise_is_read_or_refused(body: bytes) -> None:
    """Any bytes are a request, or are refused by a word of the closed list."""
    assert isinstance(judged(body), AskedFor | RefusalCode)


@given(bodies())
def test_a_body_of_wild_values_is_read_or_refused(body: bytes) -> None:
    """Roles, calls, schemas, numbers: in range, or refused."""
    asked = judged(body)
    assert asked is RefusalCode.BAD_REQUEST or isinstance(asked, AskedFor)


@given(bodies(), st.data())
def test_a_damaged_body_is_read_or_refused(body: bytes, data: st.DataObject) -> None:
    """One byte changed, wherever it stands."""
    place = data.draw(st.integers(0, max(len(body) - 1, 0)))
    damaged = body[:place] + data.draw(st.binary(min_size=1, max_size=1)) + body[place + 1 :]
    assert isinstance(judged(damaged), AskedFor | RefusalCode)
