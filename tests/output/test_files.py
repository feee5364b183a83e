"""Files are read within bounds and written whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from imggen.errors import EXIT_FAILED, EXIT_REQUEST, ImggenError, RequestError
from imggen.output import files
from imggen.output.files import WriteTarget
from imggen.output.formats import carriers


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def settle(path: Path, policy: str = "auto", *, own: bool = False, taken: tuple[Path, ...] = ()) -> WriteTarget | None:
    return files.settle(path, policy, is_own=lambda _: own, taken=taken)


class TestReading:
    def test_what_is_no_file_is_refused_by_its_kind(self, tmp_path):
        with pytest.raises(RequestError, match="is a folder"):
            files.read(tmp_path)
        with pytest.raises(RequestError, match="No such file"):
            files.read(tmp_path / "absent.png")
        with pytest.raises(RequestError, match="cannot read"):
            files.read(Path("a\0b"))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_pipe_is_refused_instead_of_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RequestError, match="not a regular file"):
            files.read(tmp_path / "pipe")

    def test_giant_file_is_refused_unread(self, tmp_path):
        with (tmp_path / "giant").open("wb") as file:
            file.truncate(carriers.MAX_FILE_BYTES + 1)
        with pytest.raises(RequestError, match="at most"):
            files.read(tmp_path / "giant")


class TestSettling:
    def test_free_name_is_taken_and_nothing_is_created(self, tmp_path):
        path = tmp_path / "a" / "b.png"
        assert settle(path) == WriteTarget(path=path, replaces=False)
        assert names(tmp_path) == []

    @pytest.mark.parametrize(("policy", "own", "replaces"), [("auto", True, True), ("overwrite", False, True)])
    def test_file_that_may_go_is_replaced(self, tmp_path, policy, own, replaces):
        (tmp_path / "a").write_bytes(b"x")
        assert settle(tmp_path / "a", policy, own=own) == WriteTarget(path=tmp_path / "a", replaces=replaces)

    @pytest.mark.parametrize(("policy", "own"), [("auto", False), ("error", True)])
    def test_file_that_must_stay_is_an_error_that_says_how_to_go_on(self, tmp_path, policy, own):
        (tmp_path / "a").write_bytes(b"x")
        with pytest.raises(RequestError, match="exists") as caught:
            settle(tmp_path / "a", policy, own=own)
        assert "--if-exists overwrite" in caught.value.hint

    def test_skipped_file_has_no_place(self, tmp_path):
        (tmp_path / "a").write_bytes(b"x")
        assert settle(tmp_path / "a", "skip") is None

    def test_number_is_the_next_that_is_neither_there_nor_taken(self, tmp_path):
        for name in ("cat.png", "cat-2.png"):
            (tmp_path / name).write_bytes(b"x")
        place = settle(tmp_path / "cat.png", "number", taken=(tmp_path / "cat-3.png",))
        assert place == WriteTarget(path=tmp_path / "cat-4.png", replaces=False)

    @pytest.mark.parametrize("policy", ["auto", "overwrite", "error", "skip"])
    def test_two_pictures_of_one_run_never_share_a_name(self, tmp_path, policy):
        with pytest.raises(RequestError, match="two pictures"):
            settle(tmp_path / "a", policy, taken=(tmp_path / "a",))

    def test_folder_device_and_file_in_the_way_are_refused(self, tmp_path):
        with pytest.raises(RequestError, match="is a folder") as caught:
            settle(tmp_path, "overwrite")
        assert caught.value.hint == f"-o {tmp_path}/"
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(RequestError, match=r"not a folder|Not a directory"):
            settle(tmp_path / "file" / "a.png")
        if Path("/dev/null").exists():
            with pytest.raises(RequestError, match="not a regular file"):
                settle(Path("/dev/null"), "overwrite")

    def test_name_that_is_too_long_is_refused(self, tmp_path):
        with pytest.raises(RequestError, match="cannot write"):
            settle(tmp_path / ("a" * 300 + ".png"))

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_folder_without_permission_is_refused_early(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(RequestError, match="not writable"):
            settle(tmp_path / "a.png")

    def test_link_stands_for_what_it_points_to(self, tmp_path):
        (tmp_path / "real").write_bytes(b"x")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        place = settle(tmp_path / "link", "overwrite")
        files.write(place, b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"


class TestWriting:
    def test_parents_are_created_and_nothing_else_is_left(self, tmp_path):
        files.write(WriteTarget(path=tmp_path / "a" / "b" / "c.png", replaces=False), b"data")
        assert (tmp_path / "a" / "b" / "c.png").read_bytes() == b"data"
        assert names(tmp_path) == ["a", "b", "c.png"]

    def test_name_that_was_taken_meanwhile_is_not_overwritten(self, tmp_path):
        place = settle(tmp_path / "a")
        (tmp_path / "a").write_bytes(b"theirs")
        with pytest.raises(FileExistsError):
            files.write(place, b"ours")
        assert (tmp_path / "a").read_bytes() == b"theirs"
        assert names(tmp_path) == ["a"]

    def test_file_system_without_hard_links_is_served_too(self, tmp_path, monkeypatch):
        def refuse(*_args: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        place = settle(tmp_path / "a")
        files.write(place, b"ours")
        assert (tmp_path / "a").read_bytes() == b"ours"
        with pytest.raises(FileExistsError):
            files.write(place, b"again")
        assert names(tmp_path) == ["a"]

    def test_permissions_are_those_of_any_new_file_or_of_the_one_named(self, tmp_path):
        (tmp_path / "plain").write_bytes(b"")
        files.write(WriteTarget(path=tmp_path / "new", replaces=False), b"x")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
        (tmp_path / "plain").chmod(0o640)
        files.write(WriteTarget(path=tmp_path / "like", replaces=False), b"x", like=tmp_path / "plain")
        assert stat.S_IMODE((tmp_path / "like").stat().st_mode) == 0o640

    @pytest.mark.parametrize(
        "failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), MemoryError()]
    )
    @pytest.mark.parametrize("replaces", [True, False])
    def test_failure_in_the_middle_leaves_the_old_file_and_no_new_one(self, tmp_path, monkeypatch, failure, replaces):
        def fail(_descriptor: int) -> None:
            raise failure

        if replaces:
            (tmp_path / "a").write_bytes(b"old")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises((KeyboardInterrupt, ImggenError, MemoryError)):
            files.write(WriteTarget(path=tmp_path / "a", replaces=replaces), b"new")
        assert names(tmp_path) == (["a"] if replaces else [])
        assert not replaces or (tmp_path / "a").read_bytes() == b"old"

    @pytest.mark.parametrize(
        ("number", "code"), [(errno.ENOSPC, EXIT_FAILED), (errno.EIO, EXIT_FAILED), (errno.EROFS, EXIT_REQUEST)]
    )
    def test_full_disk_is_a_failure_and_a_forbidden_place_a_wrong_request(self, tmp_path, monkeypatch, number, code):
        def fail(_descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(ImggenError, match=str(tmp_path / "a")) as caught:
            files.write(WriteTarget(path=tmp_path / "a", replaces=False), b"new")
        assert caught.value.exit_code == code
