"""Which prompt and which sound a clip gets."""

import itertools
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from concord.clips.describe import eligible
from concord.clips.files import stem_of
from concord.clips.match import index_in_name, match_prompts
from concord.clips.prompts import PROMPTS
from concord.clips.scan import scan
from concord.clips.sound import pair_sounds
from concord.config_data import Collection

PATTERNS = ["sample_%04d", "sample_%d", "%04d", "%d"]
VIDEO_ORDER = [pattern % 7 for pattern in [*PATTERNS, "video_%04d", "video_%d"]]
AUDIO_ORDER = [pattern % 7 for pattern in [*PATTERNS, "audio_%04d", "audio_%d"]]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def prompts(*indices: int, stems: list[str] | None = None) -> pa.Table:
    rows = [{"index": i, "stem": stems[n] if stems else None} for n, i in enumerate(indices)]
    return pa.Table.from_pylist(rows, schema=PROMPTS)


def matched(folder: Path, table: pa.Table, method: str) -> dict[str, object]:
    """The prompt index, or the reason, of each file; prompts without a file by their index."""
    found = scan(Collection(path=[folder]))
    matches = match_prompts(found, eligible(found, pair_sounds(found)), table, method)
    indices = table["index"].to_pylist()
    result: dict[str, object] = {
        clip_id: reason if row is None else indices[row]
        for clip_id, row, reason in zip(
            found["clip_id"].to_pylist(), matches.prompt, matches.reason, strict=True
        )
    }
    return result | {f"prompt {indices[row]}": why for row, why in matches.lonely.items()}


@pytest.mark.parametrize(("kind", "order"), [("video", VIDEO_ORDER), ("audio", AUDIO_ORDER)])
def test_patterns_rank_in_the_order_of_the_old_scripts(kind: str, order: list[str]) -> None:
    assert [index_in_name(stem, kind) for stem in order] == [(7, rank) for rank in range(6)]


@pytest.mark.parametrize(
    "stem", ["sample_007", "sample_00007", "Sample_0007", "audio_7", "7a", "sample_", "x7", "٧"]
)
def test_other_names_have_no_index(stem: str) -> None:
    assert index_in_name(stem, "video") is None


def test_four_digits_and_more_are_the_same_name_in_both_patterns() -> None:
    assert index_in_name("sample_1234", "video") == (1234, 0)
    assert index_in_name("12345", "video") == (12345, 2)
    assert index_in_name("9" * 250, "video") is None


def test_the_first_pattern_wins_before_the_first_extension(tmp_path: Path) -> None:
    extensions = [".mp4", ".avi", ".mov", ".mkv", ".webm"]
    names = [stem + ext for stem, ext in itertools.product(VIDEO_ORDER, extensions)]
    fill(tmp_path, *names)
    for best in names:
        result = matched(tmp_path, prompts(7), "index")
        assert result.pop(best) == 7
        assert set(result.values()) <= {"duplicate"}
        (tmp_path / best).unlink()


def test_a_file_that_is_missing_never_wins_over_one_that_is_there(tmp_path: Path) -> None:
    fill(tmp_path, "7.mp4")
    (tmp_path / "sample_0007.mp4").symlink_to("nowhere")
    assert matched(tmp_path, prompts(7), "index") == {"7.mp4": 7, "sample_0007.mp4": "duplicate"}


def test_equal_files_in_different_folders_are_ambiguous(tmp_path: Path) -> None:
    fill(tmp_path, "a/sample_0001.mp4", "b/sample_0001.mp4", "b/1.mp4", "a/2.mp4", "b/2.avi")
    assert matched(tmp_path, prompts(1, 2, 3), "index") == {
        "a/sample_0001.mp4": "ambiguous",
        "b/sample_0001.mp4": "ambiguous",
        "b/1.mp4": "ambiguous",
        "a/2.mp4": 2,
        "b/2.avi": "duplicate",
        "prompt 1": "ambiguous",
        "prompt 3": "no_clip",
    }


def test_a_better_file_ends_the_tie_of_worse_ones(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.mp4", "b/1.mp4", "c/sample_1.mp4")
    result = matched(tmp_path, prompts(1), "index")
    assert result == {"a/1.mp4": "duplicate", "b/1.mp4": "duplicate", "c/sample_1.mp4": 1}


def test_by_stem_a_prompt_may_have_several_clips_and_accents_may_differ_in_form(
    tmp_path: Path,
) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    fill(tmp_path, "dog.mp4", "sub/dog.avi", f"{decomposed}.mp4", "twice.mp4", "deep/x.mp4")
    composed = unicodedata.normalize("NFC", decomposed)
    stems = ["dog.mp4", composed, "twice", "twice", "deep/x"]
    assert matched(tmp_path, prompts(1, 2, 3, 4, 5, stems=stems), "stem") == {
        "dog.mp4": 1,
        "sub/dog.avi": 1,
        f"{decomposed}.mp4": 2,
        "twice.mp4": "ambiguous",
        "deep/x.mp4": 5,
        "prompt 3": "ambiguous",
        "prompt 4": "ambiguous",
    }


def test_by_column_the_manifest_decides(tmp_path: Path) -> None:
    fill(tmp_path, "sample_0001.mp4", "x.mp4", "y.mp4")
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,index\nsample_0001.mp4,2\nx.mp4,2\ny.mp4,99\n")
    assert matched(manifest, prompts(1, 2), "column") == {
        "sample_0001.mp4": 2,
        "x.mp4": 2,
        "y.mp4": "no_prompt",
        "prompt 1": "no_clip",
    }


def paired(*paths: Path, **options: object) -> tuple[dict[str, str], dict[str, str]]:
    """The sound of each video, and why other sounds of a sound folder have none; by file path."""
    found = scan(Collection(path=list(paths), **options))
    ids = found["clip_id"].to_pylist()
    sounds = pair_sounds(found)
    of = {ids[video]: ids[sound] for video, sound in sounds.of.items()}
    return of, {ids[row]: reason for row, reason in sounds.alone.items()}


def test_sound_comes_from_the_audio_folder_by_stem_then_by_index(tmp_path: Path) -> None:
    fill(tmp_path, "x.mp4", "sample_0001.mp4", "sub/y.mp4", "video_3.mp4", "silent.mp4")
    fill(tmp_path, "audio/x.wav", "audio/audio_1.wav", "audio/sub/y.mp3", "audio/zzz.wav")
    fill(tmp_path, "audio/audio_3.wav", "audio/audio_0003.mp3", "audio/x.mp3")
    of, alone = paired(tmp_path)
    assert of == {
        "x.mp4": "audio/x.wav",
        "sample_0001.mp4": "audio/audio_1.wav",
        "sub/y.mp4": "audio/sub/y.mp3",
        "video_3.mp4": "audio/audio_0003.mp3",
    }
    assert alone == {
        "audio/zzz.wav": "unpaired",
        "audio/x.mp3": "duplicate",
        "audio/audio_3.wav": "duplicate",
    }


def test_sound_beside_a_video_is_its_own_unless_the_audio_folder_has_it(tmp_path: Path) -> None:
    fill(tmp_path, "x.mp4", "x.wav", "y.mp4", "y.wav", "audio/y.flac", "z.wav", "sub/x.wav")
    of, alone = paired(tmp_path)
    assert of == {"x.mp4": "x.wav", "y.mp4": "audio/y.flac"}
    assert alone == {}


def test_an_audio_folder_in_a_subfolder_serves_that_subfolder(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.mp4", "a/audio/x.wav", "b/x.mp4", "b/audio/x.wav")
    assert paired(tmp_path)[0] == {"a/x.mp4": "a/audio/x.wav", "b/x.mp4": "b/audio/x.wav"}


def test_a_stem_that_several_sounds_or_videos_have_is_ambiguous(tmp_path: Path) -> None:
    fill(tmp_path, "x.mp4", "audio/1/x.wav", "audio/2/x.wav", "1/y.mp4", "2/y.mp4", "audio/y.wav")
    of, alone = paired(tmp_path)
    assert of == {}
    assert alone == dict.fromkeys(["audio/1/x.wav", "audio/2/x.wav", "audio/y.wav"], "ambiguous")


@pytest.mark.parametrize("where", ["sound", "clips/sound", "."])
def test_another_folder_of_sound_may_stand_anywhere(tmp_path: Path, where: str) -> None:
    fill(tmp_path / "clips", "x.mp4", "y.mp4")
    fill(tmp_path / where, "x.wav", "y.webm")
    of, alone = paired(tmp_path / "clips", audio=tmp_path / where)
    assert {stem_of(video): Path(sound).name for video, sound in of.items()} == {
        "x": "x.wav",
        "y": "y.webm",
    }
    assert alone == {}


def test_sound_without_any_video_is_clips(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "audio/b.mp3")
    found = scan(Collection(path=[tmp_path]))
    sounds = pair_sounds(found)
    assert sounds.alone == {}
    assert eligible(found, sounds) == [True, True]


def test_the_sound_of_a_manifest_comes_first(tmp_path: Path) -> None:
    fill(tmp_path, "x.mp4", "x.wav", "audio/x.wav")
    (tmp_path / "m.csv").write_text("path,audio_path\nx.mp4,x.wav\n")
    assert paired(tmp_path / "m.csv") == ({}, {})
