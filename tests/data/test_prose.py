import pytest

from pipelines.text.data.embedded.prose import is_prose, prose

NUMPY = """Return the values that
    occur in a sorted array.

    Parameters
    ----------
    values : array_like, optional
        The array to search, which must be
        sorted in ascending order.

    See Also
    --------
    search : This line is about another function and is not kept.

    Notes
    -----
    It is as fast as the size of the array allows [1]_.

    .. versionadded:: 1.2

        This body belongs to the directive and is not kept either.

    .. note::
        The body of a note is text that should be kept.

    Examples
    --------
    >>> values([1, 2])
    this is the output of the example, not of the author

    The next example is the same in code::

        values = "this is not the text that you are looking for"

    And so it ends, as it should.
    """

GOOGLE = """Build a layer of the given size.

    ```python
    layer = "this is only code, and it is not for the reader"
    ```

    Args:
        size: The size of the layer, which is
            the number of its outputs.
        name (str, optional): The name that is shown in the summary.
        **kwargs: Passed to the layer as they are.

    Returns:
        The layer that was built.

    Note: the layer is not yet called on any of its inputs.
    """


def test_numpydoc_becomes_paragraphs():
    assert prose(NUMPY) == [
        "Return the values that occur in a sorted array.",
        "The array to search, which must be sorted in ascending order.",
        "It is as fast as the size of the array allows [1].",
        "The body of a note is text that should be kept.",
        "The next example is the same in code:",
        "And so it ends, as it should.",
    ]


def test_google_style_becomes_paragraphs():
    assert prose(GOOGLE) == [
        "Build a layer of the given size.",
        "The size of the layer, which is the number of its outputs.",
        "The name that is shown in the summary.",
        "Passed to the layer as they are.",
        "The layer that was built.",
        "Note: the layer is not yet called on any of its inputs.",
    ]


def test_sphinx_fields_keep_their_text_only():
    docstring = """
    :param path: where the file is to be written
    :type path: str or any of the other types of paths
    :class:`~json.JSONDecoder` begins a line that is the start of a sentence.
    """
    assert prose(docstring) == [
        "where the file is to be written",
        "JSONDecoder begins a line that is the start of a sentence.",
    ]


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("See ``the code`` of `one` of the functions.", "See the code of one of the functions."),
        ("It is a [link to it](https://a.b/c), as you see.", "It is a link to it, as you see."),
        ("It is `the page <https://a.b>`_ of the year.", "It is the page of the year."),
        ("This is **very** *important* to all of them.", "This is very important to all of them."),
        ("As it is. It is at https://a.b/c?d of old. And so on.", "As it is. And so on."),
        ("As it is (https://a.b/c), it is fine.", "As it is, it is fine."),
        (
            "\n- It is the first of\n  the items on a list.",
            "It is the first of the items on a list.",
        ),
    ],
)
def test_markup_is_removed(markup, plain):
    assert prose(markup) == [plain]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Parameters",
        "result = model.fit(x, y) + 3",
        "float32, float64, int32, uint8, int16, int8, complex64",
        "| a | b | of | the | table | is | not | it |",
        "half of a surrogate \ud800 is not to be written to the file",
    ],
)
def test_what_is_not_prose(text):
    assert not is_prose(text)
