"""What both decoders say to a call that cannot be: the same words, the same hint."""

from lanai.errors import UsageError

__all__ = ["no_ids", "no_such_cache", "no_token"]


def no_such_cache(tokens: int, most: int) -> UsageError:
    """For a decoder that was loaded with ``most`` tokens of context."""
    return UsageError(
        f"a cache holds 1 to {most} tokens, not {tokens}", hint="load the model with more context"
    )


def no_ids() -> UsageError:
    return UsageError("token ids are int64, of shape (n,), n at least 1", hint="give at least one")


def no_token(vocabulary: int) -> UsageError:
    """An id is user content: it is not said."""
    return UsageError(
        f"a token id lies outside the model's vocabulary of {vocabulary}",
        hint="the tokenizer is another model's: take the one it was trained with",
    )
