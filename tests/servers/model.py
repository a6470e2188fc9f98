"""A model that has no weights, but Gemma's markers under their numbers, and Google's chat template."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from tests.request.template import source
from tests.servers.scenarios import SPELT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARKERS: Final = {
    **{0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>"},
    **{46: "<|tool>", 47: "<tool|>", 48: "<|tool_call>", 49: "<tool_call|>", 50: "<|tool_response>"},
    **{51: "<tool_response|>", 52: '<|"|>', 98: "<|think|>", 100: "<|channel>", 101: "<channel|>"},
    **{105: "<|turn>", 106: "<turn|>"},
}
"""Those of the text model, with their numbers in Gemma's vocabulary."""
ENDS: Final = (1, 50, 106)
"""What ends an answer: `<eos>`, `<|tool_response>`, `<turn|>`."""
_BYTES: Final = 238
"""The number of the first of the 256 bytes."""
_SIZE: Final = 2_048
"""Tokens that the model has; the vocabulary may have fewer."""
_CONFIG: Final[dict[str, Any]] = {
    **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": _SIZE, "torch_dtype": "float32"},
    **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 131_072},
    **{"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 64, "tie_word_embeddings": True},
    **{"pad_token_id": 0, "eos_token_id": [*ENDS], "bos_token_id": 2},
}


def write(folder: Path, text: str) -> Tokenizer:
    """Writes the model's files. Each word of `text` is a token of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(text)
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    files = {
        "config.json": _CONFIG,
        "generation_config.json": {"eos_token_id": [*ENDS]},
        "tokenizer_config.json": {**words, **kind},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(source(), encoding="utf-8")
    return tokenizer


def _tokenizer(text: str) -> Tokenizer:
    vocabulary = {MARKERS.get(number, f"<unused{number}>"): number for number in range(_BYTES)}
    vocabulary |= {f"<0x{byte:02X}>": _BYTES + byte for byte in range(256)}
    pieces, merges = [chr(number) for number in range(0x20, 0x7F)] + ["▁", "\n"], []
    words = dict.fromkeys(re.findall("[a-z]{2,}", text, re.IGNORECASE))
    for word in sorted(words, key=len, reverse=True):
        beginnings = [word[:end] for end in range(1, len(word) + 1)]
        merges += [*zip(beginnings, word[1:], strict=False), ("▁", word)]
        pieces += [*beginnings, f"▁{word}"]
    vocabulary |= {piece: _BYTES + 256 + place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges)), byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS.values()])
    return tokenizer


def numbers(tokenizer: Tokenizer, words: Iterable[str]) -> list[list[int]]:
    """The tokens of each answer; one that has no end gets one."""
    answers = [_encoded(tokenizer, text) for text in words]
    return [answer if answer and answer[-1] in ENDS else [*answer, 106] for answer in answers]


def _encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    parts = text.split(SPELT)
    return [number for part in parts for number in tokenizer.encode(part, add_special_tokens=False).ids]
