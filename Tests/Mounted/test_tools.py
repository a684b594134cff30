"""What people work with all day, on a mount: editors in a terminal, builds, package managers, archives, two at once."""

import base64
import glob
import hashlib
import os
import random
import shutil
import stat
import tarfile
import zipfile

import pytest
from harness.content import describe, digests, make_tree, pattern, sha256
from harness.processes import Forked, in_parallel, run, sh, wait_for
from harness.terminal import terminal

pytestmark = [pytest.mark.first_user, pytest.mark.first_server, pytest.mark.deadline(300)]

#: Debian's own: a test's user may be unable to read the library of the one that runs the suite.
PYTHON = "/usr/bin/python3"


# Editors

@pytest.mark.parametrize("options", ["", "--backup --locking --atblanks"], ids=["plain", "backup"])
def test_nano(mnt, mount, options):
    if not shutil.which("nano"):
        pytest.skip("no nano: scripts/install-dependencies test")
    (mnt / "notes").write_text("one\ntwo\n")
    os.chmod(mnt / "notes", 0o640)
    done = mount.scratch / "done"
    with terminal(mount, f"nano {options} {mnt}/notes; echo $? > {done}; exec sleep 200") as shown:
        wait_for(lambda: "two" in shown.screen(), 60, "nano shows the file")
        for generation in ("zero", "again"):
            shown.press(generation, "Enter")
            wait_for(lambda: generation in shown.screen(), 60, "what was typed is there")
            shown.press("C-o")
            wait_for(lambda: "File Name to Write" in shown.screen(), 60, "nano asks for the name")
            shown.press("Enter")
            wait_for(lambda: f"{generation}\none" in (mnt / "notes").read_text(), 60, "nano saves")
        wait_for(lambda: "Wrote" in shown.screen(), 60, "nano has saved")
        shown.press("C-x")
        wait_for(lambda: done.exists() and done.read_text(), 60, "nano ends")
    assert done.read_text() == "0\n"
    assert (mnt / "notes").read_text() == "zero\nagain\none\ntwo\n"
    assert stat.S_IMODE(os.stat(mnt / "notes").st_mode) == 0o640
    assert sorted(os.listdir(mnt)) == (["notes", "notes~"] if options else ["notes"])
    mount.remount()
    assert (mnt / "notes").read_text() == "zero\nagain\none\ntwo\n"


# Builds

MAKEFILE = """\
CFLAGS = -O1 -g -fPIC -MMD -MP -Iinclude
OBJECTS = build/main.o build/shapes/circle.o build/shapes/square.o
all: build/program
build/program: build/main.o build/libshapes.a build/libpart.so
\t$(CC) -o $@ build/main.o build/libshapes.a -Lbuild -lpart '-Wl,-rpath,$$ORIGIN'
build/libshapes.a: build/shapes/circle.o build/shapes/square.o
\trm -f $@; ar rcs $@ $^
build/libpart.so: build/part.o
\t$(CC) -shared -o $@ $^
build/%.o: src/%.c
\t@mkdir -p $(@D)
\t$(CC) $(CFLAGS) -c -o $@ $<
install: all
\tinstall -D -m 755 build/program $(DESTDIR)/usr/bin/program
\tinstall -D -m 644 build/libpart.so $(DESTDIR)/usr/bin/libpart.so
clean:
\trm -rf build
-include $(wildcard build/*.d build/*/*.d)
"""
SOURCES = {
    "include/shapes.h": "int circle(int); int square(int);\n#define SIZE 7\n", "include/part.h": "int part(void);\n",
    "src/main.c": '#include <stdio.h>\n#include "shapes.h"\n#include "part.h"\n'
                  'int main(void) { printf("%d %d %d\\n", circle(SIZE), square(SIZE), part()); return 0; }\n',
    "src/shapes/circle.c": '#include "shapes.h"\nint circle(int r) { return 3 * r * r; }\n',
    "src/shapes/square.c": '#include "shapes.h"\nint square(int a) { return a * a; }\n',
    "src/part.c": '#include "part.h"\nint part(void) { return 5; }\n',
}


def test_a_project_built_in_place(mnt, mount):
    """make knows by times what is to be made; the linker maps, ar rewrites, and the program runs where it was built."""
    for name in ("make", "gcc"):
        if not shutil.which(name):
            pytest.skip(f"no {name}: scripts/install-dependencies test")
    project = mnt / "project"
    for name, text in {**SOURCES, "Makefile": MAKEFILE}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    make = ["make", "CC=gcc", "-C", project]
    run(*make, "-j2", timeout=200)
    assert run(project / "build/program").stdout == "147 49 5\n"
    assert "Nothing to be done" in run(*make).stdout
    mount.remount()
    assert run(*make, "--question", check=False).code == 0, "something is to be made again after a remount"
    assert run(project / "build/program").stdout == "147 49 5\n"
    (project / "include/part.h").write_text("int part(void);\n/* other */\n")
    again = run(*make).stdout
    assert "-o build/part.o" in again and "-o build/main.o" in again and "shapes/circle.o" not in again
    (project / "src/part.c").write_text('#include "part.h"\nint part(void) { return 6; }\n')
    run(*make, f"DESTDIR={mnt}/installed", "install")
    assert run(mnt / "installed/usr/bin/program").stdout == "147 49 6\n"
    run(*make, "clean")
    assert sorted(os.listdir(project)) == ["Makefile", "include", "src"]
    run(*make, "-j2", timeout=200)
    assert run(project / "build/program").stdout == "147 49 6\n"


# Package managers

def _wheel(directory, version, modules):
    """Makes a wheel `pailsample` of some modules and a program."""
    files = {"pailsample/__init__.py": f"VERSION = '{version}'\n", "pailsample/data.bin": pattern(20_000).hex()}
    files |= {f"pailsample/part{number}.py": f"NUMBER = {number}\n" for number in range(modules)}
    files["pailsample/__main__.py"] = (
        "from importlib import import_module\nimport pailsample\ndef main():\n"
        f"    parts = [import_module(f'pailsample.part{{number}}') for number in range({modules})]\n"
        "    print(pailsample.VERSION, sum(part.NUMBER for part in parts))\nmain()\n")
    information = f"pailsample-{version}.dist-info"
    files |= {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: pailsample\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": "[console_scripts]\npailsample = pailsample.__main__:main\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    files[f"{information}/RECORD"] = record + f"{information}/RECORD,,\n"
    path = directory / f"pailsample-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def test_pip_in_a_virtual_environment(mnt, scratch, mount):
    """A venv on the mount, with packages that come, are replaced and go. pip itself runs from the local disk."""
    pip = sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"))
    if not pip:
        pytest.skip("no wheel of pip: scripts/install-dependencies test")
    python = mnt / "venv/bin/python"

    def install(*arguments):
        return run(python, scratch / "tools/pip", "--no-cache-dir", "--disable-pip-version-check", *arguments,
                   timeout=200)

    shutil.unpack_archive(pip[-1], scratch / "tools", "zip")
    run(PYTHON, "-m", "venv", "--without-pip", mnt / "venv", timeout=100)
    install("install", "--no-index", _wheel(scratch, "1.0", 40))
    assert run(mnt / "venv/bin/pailsample").stdout.split() == ["1.0", str(sum(range(40)))] * 2
    compiled = mnt / "venv/lib" / os.listdir(mnt / "venv/lib")[0] / "site-packages/pailsample/__pycache__"
    assert len(os.listdir(compiled)) == 42
    mount.remount()
    assert "1.0" in run(python, "-m", "pailsample").stdout
    install("install", "--no-index", "--upgrade", _wheel(scratch, "2.0", 10))
    assert run(mnt / "venv/bin/pailsample").stdout.split()[:2] == ["2.0", "45"]
    assert "pailsample 2.0" in " ".join(install("list").stdout.split())
    assert install("check").code == 0
    install("uninstall", "--yes", "pailsample")
    assert not compiled.parent.exists() and not (mnt / "venv/bin/pailsample").exists()


def _package(directory, version):
    """A Debian package, built in place; its path."""
    tree = directory / "package"
    for name, text in {
        "DEBIAN/control": f"Package: pailsample\nVersion: {version}\nArchitecture: all\n"
                          "Maintainer: A <a@example.org>\nDescription: sample\n",
        "DEBIAN/conffiles": "/etc/pailsample.conf\n", "etc/pailsample.conf": "setting\n",
        "usr/share/pailsample/data": f"data of {version}\n" * 1000,
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    if not os.path.lexists(tree / "usr/share/pailsample/link"):
        os.symlink("data", tree / "usr/share/pailsample/link")
    run("dpkg-deb", "--root-owner-group", "--build", tree, directory / f"pailsample_{version}.deb")
    return directory / f"pailsample_{version}.deb"


@pytest.mark.actors("root")
@pytest.mark.needs("pail")
def test_dpkg(mnt, scratch):
    """Packages are built on the mount, installed there and removed.

    What needs hard links does not work, and says so: replacing a package's file, and dpkg's own database on the mount.
    """
    database = scratch / "database"
    for name in ("info", "updates", "triggers"):
        (database / name).mkdir(parents=True)
    for name in ("status", "available"):
        (database / name).touch()
    root = mnt / "root"
    root.mkdir()
    dpkg = ["dpkg", f"--root={root}", f"--admindir={database}"]
    first, second = (_package(mnt, version) for version in ("1", "2"))
    assert run("dpkg-deb", "--field", first, "Version").stdout == "1\n"
    assert "./usr/share/pailsample/link -> data" in run("dpkg-deb", "--contents", second).stdout
    data = root / "usr/share/pailsample/data"
    run(*dpkg, "--install", first)
    assert data.read_text() == "data of 1\n" * 1000 and os.readlink(data.parent / "link") == "data"
    assert run(*dpkg, "--verify", "pailsample").stdout == ""
    refused = run(*dpkg, "--install", second, check=False)
    assert refused.code == 1 and "unable to make backup link" in refused.stderr, str(refused)
    assert data.read_text() == "data of 1\n" * 1000 and run(*dpkg, "--verify", "pailsample").stdout == ""
    assert sorted(os.listdir(data.parent)) == ["data", "link"]
    run(*dpkg, "--purge", "pailsample")
    assert not (root / "usr/share/pailsample").exists() and not (root / "etc/pailsample.conf").exists()
    run(*dpkg, "--install", second)
    assert data.read_text() == "data of 2\n" * 1000
    run("dpkg-deb", "--extract", first, mnt / "extracted")
    assert (mnt / "extracted/usr/share/pailsample/data").read_text() == "data of 1\n" * 1000
    other = mnt / "other"
    for name in ("info", "updates", "triggers"):
        (other / "var/lib/dpkg" / name).mkdir(parents=True)
    (other / "var/lib/dpkg/status").touch()
    refused = run("dpkg", f"--root={other}", "--install", first, check=False)
    assert refused.code == 2 and "error creating new backup file" in refused.stderr, str(refused)
    assert os.listdir(other) == ["var"]


# Copies and archives

def _metadata(directory):
    """Everything that a copy with all metadata keeps, by relative path."""
    found = {}
    for parent, children, names in os.walk(directory):
        for name in [".", *children, *names] if parent == str(directory) else children + names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            attributes = {} if kind == stat.S_IFLNK else {
                each: os.getxattr(path, each) for each in os.listxattr(path) if each.startswith("user.")}
            found[os.path.relpath(path, directory)] = (
                oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns,
                os.readlink(path) if kind == stat.S_IFLNK else sha256(path) if kind == stat.S_IFREG else None,
                status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None, attributes)
    return found


def _tree_with_metadata(directory):
    """A tree with extended attributes and nanoseconds; as root also with owners, devices and set-ID bits."""
    make_tree(directory)
    os.mkfifo(directory / "fifo", 0o620)
    for name, value in (("secret", b"one"), ("src/deep/file01.txt", bytes(range(256))), ("src", b"of a directory")):
        os.setxattr(directory / name, "user.comment", value)
    os.setxattr(directory / "secret", "user.two", "größe".encode())
    if os.geteuid() == 0:
        os.chown(directory / "secret", 12345, 23456)
        os.lchown(directory / "link", 7, 8)
        os.chown(directory / "src/deep", 9, 10)
        os.chown(directory / "run.sh", 3, 4)
        os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(directory / "disk", stat.S_IFBLK | 0o640, os.makedev(259, 70_000))
    os.chmod(directory / "run.sh", 0o6755 if os.geteuid() == 0 else 0o755)
    os.chmod(directory / "empty", 0o1777)
    order = [os.path.join(parent, name) for parent, children, names in os.walk(directory, topdown=False)
             for name in names + children]
    for number, path in enumerate([*order, directory]):
        os.utime(path, ns=(10**18 + number, 1_400_000_000_123_456_789 + number * 1_000_000_007), follow_symlinks=False)
    return directory


@pytest.mark.needs("pail")
@pytest.mark.no_compare  # FIFOs and devices are objects, and no files
@pytest.mark.parametrize("way", ["tar", "rsync", "cp"])
def test_all_metadata_there_and_back(mnt, scratch, mount, way):
    """Owners, modes, nanoseconds, extended attributes, devices: onto the mount, over a remount, and back."""
    tree = _tree_with_metadata(scratch / "tree")
    tar = "tar --format=posix --numeric-owner --xattrs --xattrs-include='user.*'"
    ways = {
        "tar": lambda old, new: sh(f"mkdir {new} && {tar} -C {old} -cf - . | {tar} -C {new} --same-owner -xpf -"),
        "rsync": lambda old, new: run("rsync", "-aHAX", "--numeric-ids", f"{old}/", new),
        "cp": lambda old, new: run("cp", "-a", old, new),
    }
    expected = _metadata(tree)
    ways[way](tree, mnt / "copy")
    assert _metadata(mnt / "copy") == expected
    mount.remount()
    assert _metadata(mnt / "copy") == expected
    ways[way](mnt / "copy", scratch / "back")
    assert _metadata(scratch / "back") == expected
    ways[way](mnt / "copy", mnt / "again")
    assert _metadata(mnt / "again") == expected
    if way == "tar":
        sh(f"{tar} -C {mnt}/copy -cf {mnt}/all.tar . && {tar} -C {mnt}/copy --compare -f {mnt}/all.tar")


@pytest.mark.needs("pail")
@pytest.mark.no_compare
def test_rsync_with_everything_moves_nothing_twice(mnt, scratch, mount):
    """rsync -aHAX: the second run finds nothing to do, also after a remount; one change is one file."""
    tree = _tree_with_metadata(scratch / "tree")
    rsync = ["rsync", "-aHAX", "--numeric-ids", "--delete"]
    run(*rsync, f"{tree}/", mnt / "tree")
    for _ in range(2):
        again = run(*rsync, "--itemize-changes", "--stats", f"{tree}/", mnt / "tree")
        assert "Number of regular files transferred: 0" in again.stdout
        assert again.stdout.startswith("\nNumber of files"), again.stdout
        mount.remount()
    os.setxattr(tree / "secret", "user.comment", b"other")
    (tree / "src/none").unlink()
    os.utime(tree / "src", (10**9, 10**9))
    changed = run(*rsync, "--itemize-changes", f"{tree}/", mnt / "tree").stdout
    run(*rsync, f"{tree}/", mnt / "tree")  # rsync sets a directory's time before it deletes in it
    assert sorted(line.split()[-1] for line in changed.splitlines()) == ["secret", "src/", "src/none"], changed
    assert _metadata(mnt / "tree") == _metadata(tree)


@pytest.mark.needs("pail")
def test_rsync_tells_of_hard_links(mnt, scratch):
    """A second name is not made, and never as a copy: rsync -H says which, and ends with 23. Without -H it copies."""
    tree = scratch / "tree"
    tree.mkdir()
    (tree / "a").write_text("text")
    os.link(tree / "a", tree / "b")
    refused = run("rsync", "-aH", f"{tree}/", mnt / "tree", check=False)
    assert refused.code == 23 and "Operation not permitted" in refused.stderr
    assert len(os.listdir(mnt / "tree")) == 1
    run("rsync", "-a", f"{tree}/", mnt / "tree")
    assert digests(mnt / "tree") == digests(tree)


def test_shutil(mnt, scratch, mount):
    tree = make_tree(scratch / "tree")
    shutil.copytree(tree, mnt / "tree", symlinks=True)
    assert describe(mnt / "tree") == describe(tree)
    shutil.copytree(mnt / "tree", mnt / "second", symlinks=True, ignore=shutil.ignore_patterns("file0*"))
    assert not (mnt / "second/src/file00.txt").exists() and (mnt / "second/src/file12.txt").exists()
    with pytest.raises(FileExistsError):
        shutil.copytree(tree, mnt / "second")
    shutil.copytree(tree, mnt / "second", symlinks=False, dirs_exist_ok=True, ignore=lambda *_: ["link"])
    (mnt / "into").mkdir()
    assert shutil.move(mnt / "tree", mnt / "into") == f"{mnt}/into/tree"
    assert describe(mnt / "into/tree") == describe(tree)
    shutil.move(mnt / "into/tree", scratch / "out")
    assert describe(scratch / "out") == describe(tree) and os.listdir(mnt / "into") == []
    shutil.move(scratch / "out", mnt / "in")
    assert describe(mnt / "in") == describe(tree)
    shutil.move(mnt / "in/secret", mnt / "in/run.sh")
    assert (mnt / "in/run.sh").read_text() == "secret\n"
    for form in ("zip", "tar", "gztar", "xztar"):
        archive = shutil.make_archive(mnt / f"archive-{form}", form, tree)
        shutil.unpack_archive(archive, mnt / f"unpacked-{form}")
        assert digests(mnt / f"unpacked-{form}") == digests(tree) | (
            # A zip archive of Python's has what a link leads to.
            {"link": sha256(tree / "src/file00.txt")} if form == "zip" else {})
    mount.remount()
    with tarfile.open(mnt / "archive-gztar.tar.gz") as archive:
        assert len(archive.getmembers()) == len(list(tree.rglob("*"))) + 1
    shutil.rmtree(mnt / "unpacked-tar")
    assert not (mnt / "unpacked-tar").exists()
    assert shutil.disk_usage(mnt).free > 0
    shutil.copyfile(mnt / "archive-tar.tar", mnt / "copy")
    shutil.copystat(mnt / "in/run.sh", mnt / "copy")
    assert stat.S_IMODE(os.stat(mnt / "copy").st_mode) == 0o600


def _make_wide_tree(directory, seed=3):
    """A hundred directories in each other, some empty, with files and links to directories among them."""
    chance, places = random.Random(seed), [directory]
    directory.mkdir()
    for number in range(100):
        parent = chance.choice(places)
        place = parent / f"dir {number}"
        place.mkdir()
        places.append(place)
        for name in range(chance.choice((0, 0, 1, 5))):
            (place / f"file{name}").write_bytes(b"x" * name)
        if number % 10 == 0:
            os.symlink(chance.choice((".", "..", "file0", "missing")), place / "link")
    return directory


def _walk(directory, **options):
    return [(os.path.relpath(parent, directory), sorted(children), sorted(names))
            for parent, children, names in os.walk(directory, **options)]


def test_os_walk(mnt, scratch, mount):
    """os.walk from above, from below and through links, fwalk and scandir find what they find on the local disk."""
    local, mounted = _make_wide_tree(scratch / "tree"), _make_wide_tree(mnt / "tree")

    def compare():
        for options in ({}, {"topdown": False}):
            assert sorted(_walk(mounted, **options)) == sorted(_walk(local, **options))
        # A directory comes after what is in it.
        seen = [parent for parent, _, _ in _walk(mounted, topdown=False)]
        for number, parent in enumerate(seen):
            assert not any(each.startswith(f"{parent}/") for each in seen[number:])
        for where in (local, mounted):
            os.chdir(where)
            found = sorted((os.path.normpath(parent), sorted(children), sorted(names))
                           for parent, children, names, _ in os.fwalk("."))
            assert found == sorted(_walk("."))
        os.chdir("/")
        kinds = [sorted((os.path.relpath(each.path, where), each.is_dir(follow_symlinks=False), each.is_file(),
                         each.is_symlink(), each.inode() == os.lstat(each.path).st_ino)
                        for parent, _, _ in os.walk(where) for each in os.scandir(parent))
                 for where in (local, mounted)]
        assert kinds[0] == kinds[1]

    compare()
    mount.remount()
    compare()
    # Removed on the way: what is pruned is not walked, and nothing else is missed.
    for where in (local, mounted):
        for parent, children, names in os.walk(where):
            for name in [each for each in children if each.endswith("7")]:
                shutil.rmtree(os.path.join(parent, name))
                children.remove(name)
    compare()


# Two at once

def test_two_busy_programs(mnt, scratch, mount):
    """git and rsync on one side, sqlite3 and tar on the other, a reader beside them: none disturbs another."""
    tree = make_tree(scratch / "tree")

    def versions():
        sh(f"""
            export HOME={mnt}/home; mkdir $HOME
            git config --global user.email a@example.org; git config --global user.name A
            git config --global gc.auto 0; git config --global init.defaultBranch main
            git init --quiet {mnt}/work; cd {mnt}/work
            for number in 1 2 3 4; do
                rsync -a {tree}/ copy$number; echo $number > changing
                git add .; git commit --quiet -m "version $number"
            done
            git fsck --strict; test -z "$(git status --porcelain)"
        """, timeout=250)
        return run("git", "-C", mnt / "work", "log", "--oneline").stdout.count("\n")

    def table():
        sh(f"""
            mkdir {mnt}/other; cd {mnt}/other
            sqlite3 t.db 'create table t (id integer primary key, value text)'
            for number in 1 2 3 4 5 6; do
                sqlite3 t.db "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200)
                              insert into t (value) select hex(randomblob(50)) from n"
                tar -C {tree} -cf $number.tar . ; mkdir $number; tar -C $number -xpf $number.tar
                test $number -lt 3 || rm -r $((number - 2)) $((number - 2)).tar
            done
            test "$(sqlite3 t.db 'pragma integrity_check')" = ok
        """, timeout=250)
        return run("sqlite3", mnt / "other/t.db", "select count(*) from t").stdout.strip()

    def read_all_the_time():
        while True:
            for parent, _, names in os.walk(mnt):
                for name in names:
                    try:
                        with open(os.path.join(parent, name), "rb") as file:
                            file.read()
                    except FileNotFoundError:
                        pass  # git and sqlite3 make files and remove them

    reader = Forked(read_all_the_time)
    try:
        assert in_parallel(versions, table, timeout=280) == [4, "1200"]
    finally:
        reader.kill()
    mount.remount()
    for number in (1, 4):
        assert describe(mnt / f"work/copy{number}") == describe(tree)
    for number in (5, 6):
        assert describe(mnt / f"other/{number}") == describe(tree)
    assert sorted(os.listdir(mnt / "other")) == ["5", "5.tar", "6", "6.tar", "t.db"]
    sh(f"HOME={mnt}/home git -C {mnt}/work fsck --strict")
