"""Who may do what: the kernel checks modes for every mount, and a mount is private unless it is opened to others."""

import errno
import os

import pytest
from harness.processes import as_actor


@pytest.fixture
def ordinary(request):
    """The ordinary user, for tests that run as root and mount as that user."""
    return request.config.pail.actor("user")


@pytest.mark.actors("user")
def test_modes_are_enforced(mnt):
    (mnt / "closed").write_text("closed")
    os.chmod(mnt / "closed", 0o000)
    (mnt / "read only").write_text("fixed")
    os.chmod(mnt / "read only", 0o444)
    (mnt / "no entry").mkdir()
    (mnt / "no entry" / "file").touch()
    os.chmod(mnt / "no entry", 0o600)
    (mnt / "no write").mkdir()
    (mnt / "no write" / "file").touch()
    os.chmod(mnt / "no write", 0o555)
    assert _errno(lambda: (mnt / "closed").read_text()) == errno.EACCES
    assert _errno(lambda: (mnt / "read only").write_text("changed")) == errno.EACCES
    assert _errno(lambda: os.stat(mnt / "no entry" / "file")) == errno.EACCES
    assert _errno(lambda: (mnt / "no write" / "new").touch()) == errno.EACCES
    assert _errno(lambda: os.unlink(mnt / "no write" / "file")) == errno.EACCES
    assert (mnt / "read only").read_text() == "fixed" and os.listdir(mnt / "no write") == ["file"]
    for name, mode in (("closed", 0o600), ("no entry", 0o700), ("no write", 0o700)):
        os.chmod(mnt / name, mode)
    assert (mnt / "closed").read_text() == "closed"


WAYS_TO_CHANGE = {
    "write": lambda path: path.open("r+b", buffering=0).write(b"x"),
    "truncate": lambda path: os.truncate(path, 1),
    "empty": lambda path: path.open("wb").close(),
    "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
}


@pytest.mark.parametrize("way", WAYS_TO_CHANGE)
def test_a_change_ends_the_right_to_run_as_another(mnt, mount, way):
    """Root's writes do not, as on a local disk (write(2), chown(2))."""
    program = mnt / "program"
    program.write_bytes(b"text")
    os.chmod(program, 0o6755)
    assert os.stat(program).st_mode & 0o7777 == 0o6755
    WAYS_TO_CHANGE[way](program)
    kept = os.getuid() == 0 and way != "chown"
    expected = 0o6755 if kept else 0o755
    assert os.stat(program).st_mode & 0o7777 == expected
    mount.remount()
    assert os.stat(program).st_mode & 0o7777 == expected


@pytest.mark.needs("pail")
@pytest.mark.first_server
def test_a_write_is_one_request_of_the_kernel(mnt, mount):
    with open(mnt / "file", "wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 128)
    operations = mount.status()["operations"]
    assert operations["write"]["count"] == 200
    assert operations.get("getxattr", {"count": 0})["count"] < 20


@pytest.mark.actors("user")
def test_only_root_gives_files_away(mnt):
    (mnt / "file").touch()
    assert _errno(lambda: os.chown(mnt / "file", 0, -1)) == errno.EPERM


@pytest.mark.actors("root")
def test_root_reads_everything(mnt):
    (mnt / "closed").write_text("closed")
    os.chmod(mnt / "closed", 0o000)
    os.chown(mnt / "closed", 1234, 1234)
    assert (mnt / "closed").read_text() == "closed"


@pytest.mark.actors("root")
@pytest.mark.needs("s3")
def test_others_are_kept_out(mnt, stranger):
    (mnt / "file").write_text("text")
    os.chmod(mnt / "file", 0o666)
    assert as_actor(stranger, lambda: _errno(lambda: os.listdir(mnt))) == errno.EACCES
    assert as_actor(stranger, lambda: _errno(lambda: (mnt / "file").read_text())) == errno.EACCES


@pytest.mark.actors("root")
@pytest.mark.needs("pail")
@pytest.mark.unmounted
def test_root_is_kept_out_of_a_users_mount(mount, ordinary):
    mount.actor = ordinary
    ordinary.owns(mount.directory, mount.path, mount.scratch, mount.home, mount.state, mount.cache, mount.runtime)
    mount.start()
    assert _errno(lambda: os.listdir(mount.path)) == errno.EACCES
    as_actor(ordinary, lambda: (mount.path / "file").write_text("text"))
    mount.stop()
    assert mount.bucket.get("file") == b"text"


@pytest.mark.actors("root")
@pytest.mark.needs("pail")
@pytest.mark.mount_options("--allow-other")
def test_allow_other_checks_modes(mnt, stranger, mount):
    (mnt / "open").write_text("open")
    (mnt / "private").write_text("private")
    os.chmod(mnt / "private", 0o600)
    (mnt / "shared").mkdir()
    os.chmod(mnt / "shared", 0o777)

    def try_everything():
        assert (mnt / "open").read_text() == "open"
        assert _errno(lambda: (mnt / "open").write_text("changed")) == errno.EACCES
        assert _errno(lambda: (mnt / "private").read_text()) == errno.EACCES
        assert _errno(lambda: os.unlink(mnt / "open")) == errno.EACCES
        assert _errno(lambda: os.chmod(mnt / "open", 0o666)) == errno.EPERM
        (mnt / "shared" / "theirs").write_text("theirs")
        status = os.stat(mnt / "shared" / "theirs")
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())

    as_actor(stranger, try_everything)
    mount.remount("--allow-other")
    assert os.stat(mnt / "shared" / "theirs").st_uid == stranger.uid
    assert as_actor(stranger, lambda: (mnt / "shared" / "theirs").read_text()) == "theirs"


@pytest.mark.needs("pail")
@pytest.mark.mount_options("--uid", "4321", "--gid", "5432", "--file-mode", "0640", "--dir-mode", "0750")
@pytest.mark.actors("root")
def test_owner_and_modes_by_option(mnt, bucket):
    bucket.put("dir/file", b"text")
    for name, mode in (("dir", 0o40750), ("dir/file", 0o100640)):
        status = os.stat(mnt / name)
        assert (status.st_uid, status.st_gid, status.st_mode) == (4321, 5432, mode), name


@pytest.mark.needs("pail")
@pytest.mark.parametrize("options", [["--read-only"], ["-o", "ro"]], ids=["option", "-o"])
@pytest.mark.unmounted
def test_read_only(mount, options):
    mount.bucket.put("file", b"text")
    mount.start(*options)
    path = mount.path
    for change in (
        lambda: (path / "new").touch(),
        lambda: (path / "file").write_text("x"),
        lambda: os.mkdir(path / "d"),
        lambda: os.unlink(path / "file"),
        lambda: os.rename(path / "file", path / "other"),
        lambda: os.chmod(path / "file", 0o600),
        lambda: os.truncate(path / "file", 0),
    ):
        assert _errno(change) == errno.EROFS
    assert (path / "file").read_text() == "text"
    mount.stop()
    assert mount.bucket.files() == ["file"]


def _errno(action):
    """The errno that an action fails with; 0 when it does not."""
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
