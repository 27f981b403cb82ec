"""The English of a docstring: paragraphs of prose, without what only a machine or a page needs.

Docstrings wrap by hand and mix prose with code, tables and the markup of three documentation tools
(numpydoc, Google, Sphinx). `prose` drops doctests, code blocks, directives, headings and tables,
keeps the descriptions of parameters without their names and types, and joins wrapped lines.
"""

import inspect
import re
from collections.abc import Iterator

SENTENCE = 4  # words: a shorter sentence says too little
FRAGMENT = 6  # words: a shorter text that is no sentence is a heading or a list of names

# English is a third function words; code, tables and lists of names have next to none.
_FUNCTION_WORDS = """
a all also an and any are as at be been but by can do does each for from had has have how if in into
is it its may must no not of on one only or other same should so such than that the their then there
these they this those to use used was we when where whether which will with would you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
ADMONITIONS = frozenset(
    ("attention", "caution", "danger", "hint", "important", "note", "tip", "warning")
)
UNREAD_SECTIONS = frozenset(("methods", "reference", "references", "see also"))

BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)])\s+(?=\S)")
DIRECTIVE = re.compile(r"\.\. ([\w-]+)::\s*(.*)")
FIELD = re.compile(r":(?:(type|rtype)|[a-z]+)\b[^:`]*:(?:\s+|$)")  # Sphinx' ":param x: text"
# "x (int, optional): text" below "Args:"; at the left margin it would be a sentence's "Note: text".
ENTRY = re.compile(r"[`*]{0,2}[\w.*, `]{1,60}(?:\s?\([^()]*\))?[`*]{0,2}:\s+(?=\S)")
NUMPY_ENTRY = re.compile(r"[*`\w][\w*., '`|()]* : \S")  # "x : array_like, optional"
SPACE_BEFORE = re.compile(r" (?=[.,;:!?)](?:\s|$))")
NOT_PROSE = re.compile(r">>>|%\(|::| \| |\\")
RULE = re.compile(r"[-=~^*#+_|\s]{3,}$")

# What marks the markup, the markup, what stays of it.
INLINE = [
    ("](", re.compile(r"!?\[([^\[\]]+)\]\([^()\s]*\)"), r"\1"),  # Markdown's link
    (">`", re.compile(r"(?::[\w:+.-]+:)?`([^`<]+?)\s*<[^`>]+>`_{0,2}"), r"\1"),  # Sphinx' link
    ("`~", re.compile(r":[a-z][\w:+.-]*:`~(?:\w+\.)*([^`]*)`"), r"\1"),
    ("`", re.compile(r"(?::[a-z][\w:+.-]*:)?`{1,2}([^`]*)`{1,2}_{0,2}"), r"\1"),
    ("]_", re.compile(r"(\[[\w#*]+\])_"), r"\1"),  # a footnote's mark
    ("://", re.compile(r"\s*[(<]\w+://[^\s<>()]+[)>]"), ""),
    ("://", re.compile(r"[^.!?]*\b\w+://\S*[^.!?]*[.!?]?"), ""),  # the address is the sentence
    ("<", re.compile(r"</?[a-zA-Z][^<>]*>"), ""),
    ("*", re.compile(r"(?<![\w*])\*{1,3}([^\s*](?:[^*]*[^\s*])?)\*{1,3}(?![\w*])"), r"\1"),
    ("Must be", re.compile(r"Must be one of the following types: [^.]*\."), ""),  # generated
    ("\\", re.compile(r"\\(?=[*_`|\\])"), ""),
]


def prose(docstring: str) -> list[str]:
    """Return the paragraphs of English of a docstring, each on one line."""
    return [paragraph for paragraph in paragraphs(docstring) if is_prose(paragraph)]


def paragraphs(docstring: str) -> list[str]:
    """Return what may be prose of a docstring: paragraphs without markup, each on one line."""
    return [_plain(paragraph) for paragraph in _paragraphs(_lines(docstring))]


def is_prose(paragraph: str) -> bool:
    """Tell running English from code, formulas, tables and headings."""
    words = paragraph.split()
    sentence = paragraph[:1].isupper() and paragraph[-1] == "."
    if len(words) < (SENTENCE if sentence else FRAGMENT) or NOT_PROSE.search(paragraph):
        return False
    if not paragraph.isprintable():  # half a surrogate pair cannot even be written
        return False
    plain = [word.strip("\"'(),.;:!?").lower() for word in words]
    alphabetic = sum(map(str.isalpha, plain)) + sum(map(_is_compound, plain))
    functional = sum(map(FUNCTION_WORDS.__contains__, plain))
    return alphabetic >= 0.75 * len(words) and functional >= (0.1 if sentence else 0.2) * len(words)


def _is_compound(word: str) -> bool:
    return ("-" in word or "'" in word) and word.replace("-", "").replace("'", "").isalpha()


def _plain(paragraph: str) -> str:
    for mark, pattern, replacement in INLINE:
        if mark in paragraph:
            paragraph = pattern.sub(replacement, paragraph)
    return SPACE_BEFORE.sub("", " ".join(paragraph.replace("`", "").split()))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _lines(docstring: str) -> Iterator[str]:
    """Yield the lines that may be prose, and an empty line for whatever was left out."""
    lines = inspect.cleandoc(docstring).splitlines()
    fenced = doctest = False
    deeper = -1  # while >= 0: everything indented deeper than this is left out
    section = False  # inside a section that is not prose, until the next heading
    for number, line in enumerate(lines):
        text, indent = line.strip(), _indent(line)
        after = lines[number + 1] if number + 1 < len(lines) else ""
        if text.startswith(("```", "~~~")):
            fenced = not fenced
            yield ""
            continue
        if not text or fenced:
            doctest = False
            yield ""
            continue
        if deeper >= 0:
            if indent > deeper:
                continue
            deeper = -1
        doctest = doctest or text.startswith((">>>", "In ["))
        directive = DIRECTIVE.match(text)
        heading = _is_heading(text, after, indent)
        if heading:
            section = text.strip(":# ").lower() in UNREAD_SECTIONS
        if directive and directive[1] in ADMONITIONS:
            yield " " * (indent + 3) + directive[2]
            continue
        if text.startswith(".. "):
            deeper = indent
        if heading or doctest or section or deeper >= 0 or RULE.match(text) or text[0] in "|+@":
            yield ""
            continue
        if text.endswith("::"):
            deeper = indent
            line = line.rstrip(":") + ":"
        yield line


def _is_heading(text: str, after: str, indent: int) -> bool:
    underlined = len(after.strip()) > 2 and RULE.match(after.strip()) is not None
    opens = text.endswith(":") and len(text.split()) <= 3 and (not after or _indent(after) > indent)
    return underlined or opens or text.startswith("#")


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    """Join wrapped lines: a change of indentation, a bullet or an entry starts a paragraph."""
    words: list[str] = []
    first = hanging = 0  # indentation of the first line, and of those that continue it (-1: open)
    for line in lines:
        text, indent = line.strip(), _indent(line)
        bullet = BULLET.match(text)
        field = FIELD.match(text)
        entry = ENTRY.match(text) if indent else None
        opened = bullet or field or entry
        continues = words and text and not opened and (indent == hanging or hanging < 0 < indent)
        if continues and not (hanging < 0 and indent <= first):
            words.append(text)
            hanging = indent
            continue
        if words:
            yield " ".join(words)
        words = []
        if not text or NUMPY_ENTRY.match(text) or (field and field[1]):
            continue
        first, hanging = indent, -1 if opened else indent
        words = [text[opened.end() :] if opened else text]
    if words:
        yield " ".join(words)
