"""transformers' fast tokenizer and masking collator, grouped as its `run_mlm` example groups."""

import itertools
from collections.abc import Callable
from typing import Any

import transformers

from benchmarks.work import MASKED, Reading


def contestant(work: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that reads all texts once."""
    given = Reading(**work)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(given.vocabulary)
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    chunks, length = given.chunks(), given.length

    def rows():
        for chunk in chunks:
            found = tokenizer(chunk, return_special_tokens_mask=True, verbose=False)
            joined = {name: list(itertools.chain(*found[name])) for name in found}
            for i in range(0, len(joined["input_ids"]) // length * length, length):
                yield {name: values[i : i + length] for name, values in joined.items()}

    def read() -> int:
        found = rows()
        several = iter(lambda: list(itertools.islice(found, given.batch)), [])
        return sum(1 for _ in map(collate, several))

    return read
