"""Small random checkpoints of the transformers family, with real processor and tokenizer files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers as hf
from tokenizers import models, pre_tokenizers, trainers

CORPUS = [
    "a red ball falls on a wooden floor",
    "two dogs bark while a car passes",
    "红色的球落在地上",
    "una pelota roja cae al suelo",
    "water drips and a bell rings twice 0123456789",
]
NARROW = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SIGHT = {**NARROW, "image_size": 32, "patch_size": 16}
CENTRE = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
LOOKS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
PE_SIZE = 14
HEAD = {**NARROW, "num_key_value_heads": 2, "head_dim": 16}
RATE_HZ = 48_000
DIM = 24


def make(architecture: str, folder: Path) -> Path:
    """Save a checkpoint of an architecture as `save_pretrained` does; returns its folder."""
    torch.manual_seed(0)
    MAKERS[architecture](folder)
    return folder


def _save(folder: Path, network: Any, processor: Any) -> None:
    """Save both; the network with larger weights than at birth, so that inputs tell apart."""
    for values in network.parameters():
        if values.ndim > 1:
            torch.nn.init.normal_(values, std=2 / values[0].numel() ** 0.5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def _bpe(marks: list[str], **options: str) -> tuple[dict[str, int], list[Any]]:
    """Vocabulary and merges of a byte-level BPE, trained here."""
    trained = tokenizers.Tokenizer(models.BPE(**options))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        **options,
    )
    trained.train_from_iterator(CORPUS, trainer)
    content = json.loads(trained.to_str())["model"]
    return content["vocab"], [tuple(pair) for pair in content["merges"]]


def _clip_tokenizer() -> Any:
    marks = ["<|startoftext|>", "<|endoftext|>"]
    vocab, merges = _bpe(marks, end_of_word_suffix="</w>")
    # the end mark has CLIP's place, the last one, where it is found by the largest index
    order = [mark for mark in vocab if mark not in marks] + marks
    vocab = {mark: index for index, mark in enumerate(order)}
    return hf.CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=16)


def _gemma_tokenizer(kind: Any) -> Any:
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    lines = [line.replace(" ", "▁") for line in CORPUS]
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, special_tokens=marks))
    content = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in content["merges"]]
    return kind(vocab=content["vocab"], merges=merges, padding_side="right")


def _bert_tokenizer() -> Any:
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = tokenizers.BertWordPieceTokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=300, special_tokens=marks)
    return hf.BertTokenizer(vocab=trained.get_vocab(), model_max_length=512)


def _xlm_tokenizer() -> Any:
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = tokenizers.Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=marks, unk_token="<unk>")
    trained.train_from_iterator(CORPUS, trainer)
    vocab = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    return hf.XLMRobertaTokenizer(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=77)


def roberta_tokenizer() -> Any:
    vocab, merges = _bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return hf.RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=512)


def _modern_tokenizer() -> Any:
    """As ModernBERT's: no class of its own."""
    from tokenizers.processors import TemplateProcessing

    vocab, merges = _bpe(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    trained = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=trained,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=40,
    )


def _text(tokenizer: Any, positions: int, **more: Any) -> dict[str, Any]:
    marks = ("bos", "eos", "pad", "cls", "sep")
    ids = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in marks}
    return {
        **NARROW,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": positions,
        **{name: value for name, value in ids.items() if value is not None},
        **more,
    }


def _make_clip(folder: Path) -> None:
    tokenizer = _clip_tokenizer()
    config = hf.CLIPConfig(
        text_config=_text(tokenizer, 16), vision_config=SIGHT, projection_dim=DIM
    )
    processor = hf.CLIPProcessor(hf.CLIPImageProcessor(**CENTRE, **LOOKS), tokenizer)
    _save(folder, hf.CLIPModel(config), processor)


def _make_siglip(folder: Path) -> None:
    tokenizer = _gemma_tokenizer(hf.GemmaTokenizer)
    config = hf.SiglipConfig(text_config=_text(tokenizer, 20), vision_config=SIGHT)
    pictures = hf.SiglipImageProcessor(size={"height": 32, "width": 32}, **LOOKS)
    _save(folder, hf.SiglipModel(config), hf.SiglipProcessor(pictures, tokenizer))


def _make_siglip2(folder: Path) -> None:
    tokenizer = _gemma_tokenizer(hf.Siglip2Tokenizer)
    vision = {**NARROW, "patch_size": 8, "num_patches": 16}
    pictures = hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16, **LOOKS)
    config = hf.Siglip2Config(text_config=_text(tokenizer, 20), vision_config=vision)
    _save(folder, hf.Siglip2Model(config), hf.Siglip2Processor(pictures, tokenizer))


def _make_chinese_clip(folder: Path) -> None:
    tokenizer = _bert_tokenizer()
    config = hf.ChineseCLIPConfig(
        text_config=_text(tokenizer, 52), vision_config=SIGHT, projection_dim=DIM
    )
    pictures = hf.ChineseCLIPImageProcessor(
        size={"height": 32, "width": 32}, do_center_crop=False, **LOOKS
    )
    _save(folder, hf.ChineseCLIPModel(config), hf.ChineseCLIPProcessor(pictures, tokenizer))


def _make_altclip(folder: Path) -> None:
    tokenizer = _xlm_tokenizer()
    text = _text(tokenizer, 30, project_dim=32)
    config = hf.AltCLIPConfig(text_config=text, vision_config=SIGHT, projection_dim=DIM)
    processor = hf.AltCLIPProcessor(hf.CLIPImageProcessor(**CENTRE, **LOOKS), tokenizer)
    _save(folder, hf.AltCLIPModel(config), processor)


def _make_xclip(folder: Path) -> None:
    tokenizer = _clip_tokenizer()
    vision = {
        **SIGHT,
        "num_frames": 4,
        "mit_hidden_size": DIM,
        "mit_intermediate_size": 48,
        "mit_num_attention_heads": 2,
        "mit_num_hidden_layers": 1,
    }
    config = hf.XCLIPConfig(
        text_config=_text(tokenizer, 16),
        vision_config=vision,
        projection_dim=DIM,
        prompt_num_attention_heads=2,
    )
    pictures = hf.VideoMAEImageProcessor(**CENTRE, **LOOKS)
    _save(folder, hf.XCLIPModel(config), hf.XCLIPProcessor(pictures, tokenizer))


def _make_clap(folder: Path, fused: bool = False) -> None:
    tokenizer = roberta_tokenizer()
    sound = {
        "spec_size": 256,
        "num_mel_bins": 64,
        "patch_embeds_hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "hidden_size": 32,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }
    config = hf.ClapConfig(text_config=_text(tokenizer, 30), audio_config=sound, projection_dim=DIM)
    ears = hf.ClapFeatureExtractor(
        max_length_s=1, truncation="fusion" if fused else "rand_trunc", frequency_min=50
    )
    _save(folder, hf.ClapModel(config), hf.ClapProcessor(ears, tokenizer))


def _pe_text(tokenizer: Any) -> dict[str, Any]:
    return _text(tokenizer, 64, model_type="modernbert")


def _pe_sight() -> dict[str, Any]:
    network = {"embed_dim": 64, "img_size": (PE_SIZE, PE_SIZE), "depth": 1}
    vision = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_large_patch14_336",
        "model_args": network,
        "num_classes": 16,
        "do_pooling": True,
        "global_pool": "map",
    }
    return {**HEAD, "vision_config": vision}


def _pe_sound() -> dict[str, Any]:
    codec = {
        "model_type": "dac",
        "encoder_hidden_size": 8,
        "downsampling_ratios": [2, 8, 10, 12],
        "codebook_dim": 8,
    }
    return {**HEAD, "dac_config": codec}


def _pe_pictures() -> Any:
    steps = ("convert_rgb", "normalize", "rescale", "resize", "sample_frames")
    return hf.PeVideoVideoProcessor(
        size={"height": PE_SIZE, "width": PE_SIZE},
        num_frames=3,
        **{f"do_{step}": True for step in steps},
        **LOOKS,
    )


def _make_pe_video(folder: Path) -> None:
    tokenizer = _modern_tokenizer()
    config = hf.PeVideoConfig(text_config=_pe_text(tokenizer), video_config=_pe_sight())
    processor = hf.PeVideoProcessor(_pe_pictures(), tokenizer)
    _save(folder, hf.PeVideoModel(config), processor)


def _make_pe_audio(folder: Path) -> None:
    tokenizer = _modern_tokenizer()
    config = hf.PeAudioConfig(text_config=_pe_text(tokenizer), audio_config=_pe_sound())
    processor = hf.PeAudioProcessor(hf.PeAudioFeatureExtractor(), tokenizer)
    _save(folder, hf.PeAudioModel(config), processor)


def _make_pe_audio_video(folder: Path) -> None:
    tokenizer = _modern_tokenizer()
    both = {**HEAD, "audio_config": _pe_sound(), "video_config": _pe_sight()}
    config = hf.PeAudioVideoConfig(text_config=_pe_text(tokenizer), audio_video_config=both)
    processor = hf.PeAudioVideoProcessor(hf.PeAudioFeatureExtractor(), _pe_pictures(), tokenizer)
    _save(folder, hf.PeAudioVideoModel(config), processor)


MAKERS: dict[str, Callable[[Path], None]] = {
    "clip": _make_clip,
    "siglip": _make_siglip,
    "siglip2": _make_siglip2,
    "chinese_clip": _make_chinese_clip,
    "altclip": _make_altclip,
    "xclip": _make_xclip,
    "clap": _make_clap,
    "clap_fused": lambda folder: _make_clap(folder, fused=True),
    "pe_video": _make_pe_video,
    "pe_audio": _make_pe_audio,
    "pe_audio_video": _make_pe_audio_video,
}
