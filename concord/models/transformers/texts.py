"""The tokenizer of a checkpoint, which has to be that of its network."""

from pathlib import Path
from typing import Any

from concord.errors import UserError, shortened
from concord.models.base import ModelSpec

UNLIMITED = 10**6
"""Tokenizers that know no limit give a larger number."""
SPARE, MULTIPLE = 128, 8
"""Networks round their vocabulary up, to a multiple of 8 or more; by fewer than 128 tokens."""
LEGACY_EOS = 2
"""What the configurations of old CLIPs have; the network then looks for the largest token."""
SAVE = "save processor and tokenizer of the network beside it (`save_pretrained`)"


def load_tokenizer(spec: ModelSpec, folder: Path, config: Any) -> Any:
    """The checkpoint's tokenizer. `config` is the network's configuration.

    Raises UserError if there is none, or if it is that of another network: its tokens would be
    others than the network learned, and the embeddings wrong without a sign of it.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise UserError(
            f"models.{spec.name}: the tokenizer in {folder} does not load: {shortened(error)}; "
            f"{SAVE}"
        ) from error
    names = dict.fromkeys(("tokenizer.json", *tokenizer.vocab_files_names.values()))
    files = [folder / name for name in names if (folder / name).is_file()]
    if not files:  # transformers then makes an empty one
        raise UserError(
            f"models.{spec.name}: {folder} has no tokenizer ({', '.join(names)}); {SAVE}"
        )
    if fault := _mismatch(str(spec.architecture), tokenizer, config.text_config):
        raise UserError(
            f"models.{spec.name}: the tokenizer {files[0]} is not that of the network in "
            f"{folder / 'config.json'}: {fault}; {SAVE}"
        )
    return tokenizer


def longest_text(tokenizer: Any, config: Any) -> int:
    """Tokens that the text side reads: the tokenizer's limit, and never more than its positions."""
    text = config.text_config
    positions = int(text.max_position_embeddings)
    if text.model_type in ("clap_text_model", "altclip_text_model"):
        positions -= int(text.pad_token_id) + 1  # RoBERTa counts from after the padding's index
    limit = int(tokenizer.model_max_length)
    return min(positions, limit) if limit < UNLIMITED else positions


def _mismatch(architecture: str, tokenizer: Any, text: Any) -> str | None:
    """How a tokenizer differs from what a network's text side knows; None if it does not.

    Of the marks, those count that the network uses: where CLIP reads a text's embedding, and the
    padding from which others count positions. SigLIP's configurations name marks of another model.
    """
    size, known = max(tokenizer.get_vocab().values()) + 1, int(text.vocab_size)
    rounded = known % MULTIPLE == 0 and 0 <= known - size < SPARE
    if size != known and not rounded:
        return f"it has {size} tokens, and text_config.vocab_size is {known}"
    if architecture.startswith("siglip"):
        return None
    mark = "eos" if architecture in ("clip", "xclip") else "pad"
    found, expected = getattr(tokenizer, f"{mark}_token_id"), getattr(text, f"{mark}_token_id")
    if mark == "eos" and (architecture == "xclip" or expected == LEGACY_EOS):
        expected = size - 1
    if expected is not None and found != expected:
        return f"its {mark}_token_id is {found}, and the network's is {expected}"
    return None
