"""The tokenizer a GGUF file carries, rebuilt with the ``tokenizers`` package.

Two kinds: ``gpt2`` (byte-level BPE with merges, Llama 3, SmolLM, Qwen) and ``llama``
(SentencePiece BPE with scores and byte fallback, Gemma, Llama 2).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from inference.formats.gguf_file import GgufFile
from inference.text.vocabulary import Vocabulary, is_plain_text
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["gguf_vocabulary"]

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _gpt2_words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _digits_apart() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2_words()])


def _words(numbers: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_WORDS % numbers), "isolated")
    return pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


_PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "default": _gpt2_words,
    "gpt-2": _gpt2_words,
    "smollm": _digits_apart,
    "llama-bpe": lambda: _words("{1,3}"),
    "qwen2": lambda: _words(""),
}


def gguf_vocabulary(file: GgufFile, template: str | None) -> Vocabulary:
    """Raises ``ModelFormatError`` for a damaged vocabulary, else ``UnsupportedModel``."""
    tokens = file.strings("tokenizer.ggml.tokens")
    if not tokens or len(set(tokens)) != len(tokens):
        raise ModelFormatError(f"{file.path}: the vocabulary is missing or names a token twice")
    kinds = dict(zip(tokens, _kinds(file, len(tokens)), strict=True))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    control = {
        token: ranks[token] for token, kind in kinds.items() if _steers(token, kind, template)
    }
    # Control tokens are not in the tokenizer at all: text can never become one.
    plain = {token: rank for token, rank in ranks.items() if token not in control}
    byte_level = file.text("tokenizer.ggml.model") == "gpt2"
    tokenizer = _byte_pairs(file, plain) if byte_level else _sentence_pieces(file, plain, kinds)
    added = [token for token in plain if kinds[token] == _USER_DEFINED]
    tokenizer.add_tokens([AddedToken(token) for token in added])
    return Vocabulary(
        tokenizer=tokenizer,
        size=len(tokens),
        control=control,
        added=frozenset(added),
        byte_level=byte_level,
    )


def _steers(token: str, kind: int, template: str | None) -> bool:
    """Whether a token belongs to the model's form rather than to text."""
    if kind == _USER_DEFINED:
        return not is_plain_text(token) or token in (template or "")
    return kind == _CONTROL


def _kinds(file: GgufFile, count: int) -> list[int]:
    kinds = file.numbers("tokenizer.ggml.token_type")
    if kinds is None or len(kinds) != count or kinds.dtype.kind not in "iu":
        raise ModelFormatError(f"{file.path}: the vocabulary lacks its token types")
    return [int(kind) for kind in kinds]


def _byte_pairs(file: GgufFile, ranks: dict[str, int]) -> Tokenizer:
    name = file.text("tokenizer.ggml.pre") or "default"
    if name not in _PRE_TOKENIZERS:
        raise UnsupportedModel(
            f"pre-tokenizer {name!r} is not built here", hint=", ".join(sorted(_PRE_TOKENIZERS))
        )
    pairs = [tuple(merge.split(" ")) for merge in file.strings("tokenizer.ggml.merges")]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if len(merges) != len(pairs):
        raise ModelFormatError(f"{file.path}: a merge of the vocabulary is not a pair")
    whole_words = name == "llama-bpe"
    tokenizer = _tokenizer(file.path, models.BPE, ranks, merges, ignore_merges=whole_words)
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[name]()
    return tokenizer


def _sentence_pieces(file: GgufFile, ranks: dict[str, int], kinds: Mapping[str, int]) -> Tokenizer:
    if file.text("tokenizer.ggml.model") != "llama":
        raise UnsupportedModel(
            f"tokenizer {file.text('tokenizer.ggml.model')!r} is not built here",
            hint="built: gpt2, llama",
        )
    scores = file.numbers("tokenizer.ggml.scores")
    if scores is None or len(scores) != len(kinds):
        raise ModelFormatError(f"{file.path}: the vocabulary lacks its scores")
    values = scores.tolist()
    normal = {token: values[rank] for token, rank in ranks.items() if kinds[token] == _NORMAL}
    tokenizer = _tokenizer(
        file.path, models.BPE, ranks, _merges(normal), fuse_unk=True, byte_fallback=True
    )
    prefixed = file.flag("tokenizer.ggml.add_space_prefix", default=True)
    prefix = [normalizers.Prepend("▁")] if prefixed else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    return tokenizer


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbours whose union scores best: merges in that order."""
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(scores, key=scores.__getitem__, reverse=True)
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]


def _tokenizer(
    path: Path, model: Callable[..., models.Model], *parts: object, **options: object
) -> Tokenizer:
    try:
        return Tokenizer(model(*parts, **options))
    except Exception as error:  # the package raises nothing narrower
        raise ModelFormatError(f"{path}: the vocabulary contradicts itself") from error
