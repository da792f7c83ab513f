"""Putting a decoder together from the files of a model.

Plan:
    1. open the files; their settings give the configuration
    2. choose the form of each kind of weight
    3. embeddings and output matrix, shared when the file has one
    4. layers, one after the other, so that one layer at a time exists in float32
    5. the adapter that belongs to the model, if there is one
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inference.adapters import read_adapter
from inference.architectures import (
    DecoderConfig,
    DecoderWeights,
    LayerShape,
    Rope,
    config_of_gguf,
    config_of_huggingface,
)
from inference.attention import Attention, Norm
from inference.decoder import Decoder, LanguageModel, Layer, Precision, gelu_tanh, silu
from inference.embedding import Embedding
from inference.formats import ModelFiles, locate
from inference.formats.gguf_file import GgufFile
from inference.formats.huggingface import HuggingFaceFolder
from inference.formats.packed import PackedFile
from inference.formats.packed_source import PackedSource
from inference.formats.sources import GgufSource, HuggingFaceSource
from inference.kernels import load_kernels
from inference.linear import (
    DenseLinear,
    Int8Linear,
    Linear,
    WeightForm,
    build_linear,
    dense_copy,
)
from inference.matrix import GridMatrix, Matrix
from inference.packed_decoder import PackedDecoder, runs_compiled
from inference.rotation import RotationTable
from lanai.errors import ModelFormatError, UsageError

__all__ = ["Forms", "build", "load", "load_any", "load_source", "open_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """How weights are held: layer matrices on a 4-bit grid, other layer matrices, the two ends."""

    grid: WeightForm
    plain: WeightForm
    head: WeightForm

    @classmethod
    def all(cls, form: WeightForm) -> "Forms":
        return cls(grid=form, plain=form, head=form)

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and cache."""
        return torch.float32 if self.head == "float32" else torch.bfloat16


_PACKED = Forms(grid="int4", plain="int8", head="int8")


def load(
    path: Path,
    *,
    context_tokens: int,
    device: str | None,
    precision: Precision,
    forms: Forms | None = None,
) -> Decoder:
    # 1. open
    config, weights, quantized = open_weights(path)
    _check_context(config, context_tokens)
    # 2. choose
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    forms = forms or _choose(precision, target, quantized=quantized)
    # 3. and 4.
    decoder = build(config, weights, forms, target, context_tokens)
    _keep_on(decoder, locate(path))  # 5.
    return decoder


def load_any(
    path: Path, *, context_tokens: int, device: str | None, precision: Precision
) -> LanguageModel:
    """A packed model in the kernels where that can be, everything else in torch."""
    if precision == "auto" and device in (None, "cpu") and not _has_cuda(device):
        files = locate(path)
        kernels = load_kernels() if files.format == "packed" else None
        if kernels is not None:
            packed = PackedFile.open(files.weights)
            _check_context(packed.config, context_tokens)
            if runs_compiled(packed.config):
                decoder = PackedDecoder(
                    packed, kernels, context_tokens=context_tokens, threads=torch.get_num_threads()
                )
                _keep_on(decoder, files)
                return decoder
    return load(path, context_tokens=context_tokens, device=device, precision=precision)


def _keep_on(decoder: LanguageModel, files: ModelFiles) -> None:
    """An adapter inside the model's own folder is part of its weights, and measured with them."""
    if files.adapter is not None:
        decoder.keep_on(read_adapter(files.adapter, decoder.config))


def _has_cuda(device: str | None) -> bool:
    return device is None and torch.cuda.is_available()


def _check_context(config: DecoderConfig, context_tokens: int) -> None:
    if not 0 < context_tokens <= config.max_context:
        raise UsageError(
            f"a context of {context_tokens} tokens was asked of a model made for "
            f"{config.max_context}",
            hint=f"ask for at most {config.max_context}",
        )


def load_source(path: Path, *, precision: Precision) -> tuple[Decoder, DecoderWeights]:
    """A decoder on the CPU with the context of its model, and the weights it was made of.

    Without the adapter that may belong to the model: what is made of its weights is not it.
    """
    config, weights, quantized = open_weights(path)
    device = torch.device("cpu")
    forms = _choose(precision, device, quantized=quantized)
    return build(config, weights, forms, device, config.max_context), weights


def build(
    config: DecoderConfig,
    weights: DecoderWeights,
    forms: Forms,
    device: torch.device,
    positions: int,
) -> Decoder:
    """A decoder of weights that are read already, with room for ``positions`` tokens."""
    with torch.no_grad():  # not inference mode: packing asks for slopes
        return _Builder(config, weights, forms, device, positions).decoder()


def open_weights(path: Path) -> tuple[DecoderConfig, DecoderWeights, bool]:
    """What a model's files hold, of any format; whether they are quantized already."""
    files = locate(path)
    if files.format == "gguf":
        file = GgufFile.open(files.weights)
        config = config_of_gguf(file)
        quantized = any(entry.type.name.startswith("Q") for entry in file.tensors.values())
        return config, DecoderWeights.of_gguf(GgufSource(file), config), quantized
    if files.format == "packed":
        packed = PackedFile.open(files.weights)
        source = PackedSource(packed)
        return packed.config, DecoderWeights.of_packed(source), source.all_on_grid()
    folder = HuggingFaceFolder.open(files.weights)
    config = config_of_huggingface(folder.config)
    weights = DecoderWeights.of_huggingface(HuggingFaceSource(folder), config)
    _check_head(folder, weights)
    return config, weights, False


def _check_head(folder: HuggingFaceFolder, weights: DecoderWeights) -> None:
    """A file without an output matrix shares the embeddings only where its settings allow it."""
    openelm = folder.config.get("model_type") == "openelm"
    key = "share_input_output_layers" if openelm else "tie_word_embeddings"
    if folder.config.get(key) is False and not weights.has("head"):
        raise ModelFormatError(
            f"{folder.path} lacks its output matrix, and {key} of config.json is false",
            hint="fetch the model again",
        )


def _choose(precision: Precision, device: torch.device, *, quantized: bool) -> Forms:
    if precision == "float32":
        return Forms.all("float32")
    if precision == "auto" and quantized and device.type == "cpu":
        return _PACKED
    return Forms.all("bfloat16")


class _Builder:
    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        forms: Forms,
        device: torch.device,
        positions: int,
    ) -> None:
        self._config = config
        self._weights = weights
        self._forms = forms
        self._device = device
        self._positions = positions
        self._rotations: dict[tuple[Rope, int], RotationTable] = {}

    def decoder(self) -> Decoder:
        config = self._config
        embedding, head = self._ends()
        return Decoder(
            config=config,
            embedding=embedding,
            layers=[self._layer(layer, shape) for layer, shape in enumerate(config.shapes)],
            final_norm=self._norm("final_norm", config.width),
            head=head,
            dtype=self._forms.dtype,
            device=self._device,
            context_tokens=self._positions,
        )

    def _ends(self) -> tuple[Embedding, Linear]:
        config, size = self._config, (self._config.vocabulary, self._config.width)
        table = self._weights.matrix("embedding", size)
        shared = not self._weights.has("head")
        matrix = table if shared else self._weights.matrix("head", size)
        factor = config.embedding_scale
        if self._forms.head in ("float32", "bfloat16"):
            rows = dense_copy(table, self._forms.dtype).to(self._device)
            head = rows if shared else dense_copy(matrix, self._forms.dtype).to(self._device)
            return Embedding(rows, factor=factor), self._dense(head)
        rows8 = Int8Linear.of(table, keep_dense=False)
        embedding = Embedding.of_int8(rows8, factor=factor)
        if shared and self._forms.head == "int8":
            return embedding, rows8
        return embedding, build_linear(matrix, self._forms.head, keep_dense=False)

    def _layer(self, layer: int, shape: LayerShape) -> Layer:
        config, weights, width = self._config, self._weights, self._config.width
        sandwich = config.sandwich_norms
        return Layer(
            attention_norm=self._norm("attention_norm", width, layer),
            attention=self._attention(layer, shape),
            ffn_norm=self._norm("ffn_norm", width, layer),
            gate_up=self._linear(weights.gate_up(width, shape, layer)),
            down=self._linear(weights.matrix("down", (width, shape.ffn_width), layer)),
            activation=silu if config.activation == "silu" else gelu_tanh,
            attention_post_norm=(
                self._norm("attention_post_norm", width, layer) if sandwich else None
            ),
            ffn_post_norm=self._norm("ffn_post_norm", width, layer) if sandwich else None,
        )

    def _attention(self, layer: int, shape: LayerShape) -> Attention:
        config, head = self._config, shape.head_width
        qkv, bias = self._weights.qkv(config.width, shape, layer)
        output = self._weights.matrix("output", (config.width, shape.attention_width), layer)
        return Attention(
            layer=layer,
            shape=shape,
            qkv=self._linear(qkv, bias),
            output=self._linear(output),
            rotation=self._rotation(shape),
            norm_q=self._norm("q_norm", head, layer) if config.qk_norm else None,
            norm_k=self._norm("k_norm", head, layer) if config.qk_norm else None,
            scale=config.query_scale,
        )

    def _rotation(self, shape: LayerShape) -> RotationTable:
        key = (shape.rope, shape.head_width)
        if key not in self._rotations:
            factors = None
            if self._weights.has("rope_factors"):
                factors = self._weights.vector("rope_factors", shape.head_width // 2)
            table = RotationTable(*key, self._positions, self._forms.dtype, factors=factors)
            self._rotations[key] = table.to(self._device)
        return self._rotations[key]

    def _linear(self, matrix: Matrix, bias: Tensor | None = None) -> Linear:
        form = self._forms.grid if isinstance(matrix, GridMatrix) else self._forms.plain
        if form in ("float32", "bfloat16"):
            weight = dense_copy(matrix, self._forms.dtype).to(self._device)
            return self._dense(weight, bias)
        return build_linear(matrix, form, bias=bias)

    def _dense(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        bias = None if bias is None else bias.to(weight)
        return DenseLinear(weight, bias)

    def _norm(self, part: str, size: int, layer: int = 0) -> Norm:
        factors = self._weights.norm(part, size, layer).to(self._forms.dtype).to(self._device)
        return Norm(factors, self._config.norm_epsilon)
