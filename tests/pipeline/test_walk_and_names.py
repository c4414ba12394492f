"""Folder walks and output names."""

from pathlib import Path, PurePath

import pytest

from restore.errors import InputError
from restore.pipeline.names import plan_jobs
from restore.pipeline.walk import Source, find_photos

OUT = Path("out")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_walk_takes_photos_by_suffix_and_keeps_the_tree(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.png", "sub/c.tif", "sub/.git/d.png")
    flat = find_photos([tmp_path])
    assert names([s.path for s in flat.photos], tmp_path) == ["a.png", "b.JPG"]
    assert names([p for p, _ in flat.ignored], tmp_path) == [".hidden.png", "notes.txt"]
    deep = find_photos([tmp_path], recursive=True)
    assert names([s.path for s in deep.photos], tmp_path) == ["a.png", "b.JPG", "sub/c.tif"]
    assert [s.folder for s in deep.photos] == [PurePath(), PurePath(), PurePath("sub")]


def test_walk_leaves_the_output_out_and_names_what_is_missing(tmp_path):
    touch(tmp_path, "a.png", "results/restored_imgs/a.png")
    walk = find_photos([tmp_path, tmp_path / "gone"], True, tmp_path / "results")
    assert names([s.path for s in walk.photos], tmp_path) == ["a.png"]
    assert walk.problems[0][0] == tmp_path / "gone"
    assert "does not exist" in walk.problems[0][1]


def test_a_file_given_by_itself_is_taken_whatever_its_suffix_and_once(tmp_path):
    touch(tmp_path, "photo.dat")
    twice = [tmp_path / "photo.dat", tmp_path / "." / "photo.dat"]
    assert len(find_photos(twice).photos) == 1


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    import os

    touch(tmp_path, "a.png", "sub/b.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    walk = find_photos([tmp_path], recursive=True)
    assert len(walk.photos) == 1
    assert walk.problems == ((tmp_path / "sub", "folder cannot be read: Permission denied"),)


def jobs(*paths, **kwargs):
    sources = [Source(Path("in", path), PurePath(path).parent) for path in paths]
    return plan_jobs(sources, OUT, **kwargs)


def test_gfpgan_folders():
    (job,) = jobs("sub/a.jpg", suffix="x")
    assert job.photo == OUT / "restored_imgs/sub/a_x.jpg"
    assert job.crop(0) == OUT / "cropped_faces/sub/a_00.png"
    assert job.restored(3) == OUT / "restored_faces/sub/a_03_x.png"
    assert job.comparison(12) == OUT / "cmp/sub/a_12.png"


@pytest.mark.parametrize("ext", ["auto", "png"])
def test_no_two_photos_share_a_name(ext):
    paths = ["a.jpg", "a.png", "A.PNG", "a_jpg.png", "sub/a.jpg", "é.jpg", "é.png", "a_00.png"]
    planned = jobs(*paths, ext=ext)
    outputs = [str(f).casefold() for j in planned for f in (j.photo, j.crop(0), j.restored(0))]
    assert len(set(outputs)) == len(outputs)
    assert [job.name for job in planned[:2]] == ["a_jpg_2", "a_png"]
    assert planned[4].name == "a"  # alone in its folder
    assert [job.name for job in planned] == [job.name for job in jobs(*paths, ext=ext)]


def test_endings():
    assert [job.ending for job in jobs("a.JPG", "b.heic", "c.gif")] == [".JPG", ".png", ".png"]
    assert jobs("a.jpg", ext=".WebP")[0].ending == ".webp"
    with pytest.raises(InputError, match="expected one of"):
        jobs("a.jpg", ext="docx")
    with pytest.raises(InputError, match="part of a name"):
        jobs("a.jpg", suffix="../../etc")


def test_an_output_never_replaces_an_input():
    source = Source(OUT / "restored_imgs" / "a.jpg", PurePath())
    with pytest.raises(InputError, match="is an input"):
        plan_jobs([source], OUT)
