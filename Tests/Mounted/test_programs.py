"""Everyday programs, run in a mount as a user runs them."""

import os
import stat
import subprocess
import time

import pytest
from harness.content import describe, make_tree, pattern, sha256
from harness.processes import run, sh, wait_for


@pytest.mark.parametrize(("block", "count"), [(1, 1), (511, 3), (4096, 1), (65536, 17), (1_000_003, 5)])
def test_dd(mnt, scratch, bucket, block, count):
    (scratch / "source").write_bytes(pattern(block * count))
    sh(f"dd if={scratch}/source of={mnt}/copy bs={block} count={count} conv=fsync status=none")
    # fsync has returned, so the object is there while the mount is.
    assert bucket.get("copy") == pattern(block * count)
    sh(f"dd if={mnt}/copy of={scratch}/back bs=7777 status=none && cmp {scratch}/source {scratch}/back")


def test_dd_appends(mnt):
    for part in range(3):
        run("dd", f"of={mnt}/log", "oflag=append", "conv=notrunc", "status=none", stdin=_input(f"part {part}\n"))
    assert (mnt / "log").read_text() == "part 0\npart 1\npart 2\n"


def test_dd_overwrites_in_the_middle(mnt):
    (mnt / "file").write_bytes(b"a" * 10_000)
    run("dd", f"of={mnt}/file", "bs=1", "seek=5000", "conv=notrunc", "status=none", stdin=_input("MIDDLE"))
    assert (mnt / "file").read_bytes() == b"a" * 5000 + b"MIDDLE" + b"a" * 4994


def test_cp(mnt, scratch):
    (scratch / "source").write_bytes(pattern(300_001))
    run("cp", scratch / "source", mnt / "copy")
    run("cp", mnt / "copy", mnt / "second")
    run("cmp", scratch / "source", mnt / "second")


def test_cp_p_keeps_mode_and_time(mnt, scratch, mount):
    source = scratch / "source"
    source.write_bytes(pattern(5000))
    source.chmod(0o640)
    os.utime(source, (1_400_000_000, 1_400_000_001))
    run("cp", "-p", source, mnt / "copy")

    def facts():
        status = os.stat(mnt / "copy")
        return stat.S_IMODE(status.st_mode), int(status.st_mtime), sha256(mnt / "copy")

    expected = (0o640, 1_400_000_001, sha256(source))
    assert facts() == expected
    mount.remount()
    assert facts() == expected


def test_cp_a_of_a_tree(mnt, scratch, mount):
    tree = make_tree(scratch / "tree")
    run("cp", "-a", tree, mnt / "tree")
    assert describe(mnt / "tree") == describe(tree)
    mount.remount()
    kept = mount.bucket.keeps_marker_metadata
    assert describe(mnt / "tree", directories=kept) == describe(tree, directories=kept)
    run("diff", "-r", tree, mnt / "tree")


def test_mv_into_within_and_out(mnt, scratch):
    data = pattern(123_456)
    (scratch / "file").write_bytes(data)
    run("mv", scratch / "file", mnt / "in")
    run("mv", mnt / "in", mnt / "renamed")
    os.mkdir(mnt / "dir")
    run("mv", mnt / "renamed", mnt / "dir/")
    assert (mnt / "dir" / "renamed").read_bytes() == data
    run("mv", mnt / "dir" / "renamed", scratch / "out")
    assert (scratch / "out").read_bytes() == data
    assert os.listdir(mnt) == ["dir"] and os.listdir(mnt / "dir") == []


def test_mv_n_does_not_overwrite(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    run("mv", "-n", mnt / "a", mnt / "b", check=False)
    assert (mnt / "b").read_text() == "b" and (mnt / "a").read_text() == "a"


def test_tar(mnt, scratch):
    tree = make_tree(scratch / "tree")
    sh(f"tar -C {scratch} -cf {mnt}/tree.tar tree && mkdir {mnt}/out && tar -C {mnt}/out -xpf {mnt}/tree.tar")
    assert describe(mnt / "out" / "tree") == describe(tree)
    os.mkdir(scratch / "out")
    sh(f"tar -C {mnt}/out -czf {mnt}/again.tgz tree && tar -C {scratch}/out -xpzf {mnt}/again.tgz")
    assert describe(scratch / "out" / "tree") == describe(tree)


@pytest.mark.deadline(180)
def test_git(mnt, scratch, mount):
    tree = make_tree(scratch / "tree")
    sh(f"""
        git config --global user.email a@example.org; git config --global user.name A
        git config --global init.defaultBranch main; git config --global gc.auto 0
        mkdir {mnt}/work; cd {mnt}/work
        git init --quiet
        cp -r {tree}/. .; rmdir empty
        git add .; git commit --quiet -m first
        echo more >> run.sh; git commit --quiet -am second
        git checkout --quiet -b side HEAD~1; echo other > other; git add other; git commit --quiet -m third
        git merge --quiet main -m merge
        git gc --quiet
        git fsck --strict
        test -z "$(git status --porcelain)"
    """, timeout=170)
    assert sh(f"git -C {mnt}/work log --oneline").stdout.count("\n") == 4
    sh(f"git clone --quiet {mnt}/work {scratch}/clone && diff -r --exclude .git {mnt}/work {scratch}/clone")
    mount.remount()
    sh(f"cd {mnt}/work && git fsck --strict && git status --porcelain && git clone --quiet . {mnt}/clone")


def test_sqlite3(mnt, mount):
    sh(f"""
        cd {mnt}
        sqlite3 data.db 'create table t (id integer primary key, value text)'
        sqlite3 data.db "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
                         insert into t select i, hex(randomblob(50)) from n"
        sqlite3 data.db 'create index by_value on t(value)'
        sqlite3 data.db 'begin; delete from t where id % 2 = 0; rollback; update t set value = 1 where id = 7'
        test "$(sqlite3 data.db 'pragma integrity_check')" = ok
    """)
    mount.remount()
    questions = "pragma integrity_check; select count(*) from t; select value from t where id = 7"
    answer = run("sqlite3", mnt / "data.db", questions)
    assert answer.stdout.split() == ["ok", "2000", "1"]


def test_sqlite3_wal(mnt):
    sh(f"""
        cd {mnt}
        sqlite3 w.db 'pragma journal_mode=wal; create table t(x); insert into t values (1), (2); pragma wal_checkpoint'
        test "$(sqlite3 w.db 'pragma integrity_check')" = ok
        test "$(sqlite3 w.db 'select sum(x) from t')" = 3
    """)


def test_rsync_twice(mnt, scratch, mount):
    tree = make_tree(scratch / "tree")
    run("rsync", "-a", f"{tree}/", mnt / "tree")
    assert describe(mnt / "tree") == describe(tree)
    again = run("rsync", "-a", "--itemize-changes", f"{tree}/", mnt / "tree")
    assert again.stdout == "", "a second rsync -a found something to do"
    mount.remount()
    directories = [] if mount.bucket.keeps_marker_metadata else ["--omit-dir-times", "--no-perms"]
    again = run("rsync", "-a", *directories, "--itemize-changes", f"{tree}/", mnt / "tree")
    assert again.stdout == "", "a second rsync -a found something to do after a remount"
    (tree / "run.sh").write_text("#!/bin/sh\necho RAN\n")  # the same size
    (tree / "src" / "deep" / "file04.txt").unlink()
    run("rsync", "-a", "--delete", f"{tree}/", mnt / "tree")
    assert describe(mnt / "tree") == describe(tree)


def test_rsync_inplace(mnt, scratch):
    source = scratch / "source"
    source.write_bytes(pattern(2_000_000))
    run("rsync", "-a", "--inplace", source, mnt / "copy")
    with open(source, "r+b") as file:
        file.seek(1_000_000)
        file.write(b"changed")
    run("rsync", "-a", "--inplace", "--ignore-times", "--no-whole-file", source, mnt / "copy")
    run("cmp", source, mnt / "copy")


def test_sed_in_place(mnt):
    (mnt / "file").write_text("one\ntwo\nthree\n" * 1000)
    run("sed", "-i", "s/two/2/", mnt / "file")
    assert (mnt / "file").read_text() == "one\n2\nthree\n" * 1000
    assert os.listdir(mnt) == ["file"]


def test_editor_save_by_rename(mnt):
    (mnt / "file").write_text("old")
    for generation in range(5):
        with open(mnt / ".file.tmp", "w") as file:
            file.write(f"generation {generation}\n" * 100)
            file.flush()
            os.fsync(file.fileno())
        os.rename(mnt / ".file.tmp", mnt / "file")
        assert (mnt / "file").read_text() == f"generation {generation}\n" * 100


@pytest.mark.parametrize("backup", ["nobackup nowritebackup", "backup backupcopy=no", "backup backupcopy=yes"])
def test_vim(mnt, backup):
    (mnt / "file").write_text("one\ntwo\n")
    commands = [f"set {backup} backupskip= swapfile", "s/two/2/", "normal othree", "wq"]
    run("ex", "-u", "NONE", *(word for command in commands for word in ("-c", command)), mnt / "file", timeout=20)
    assert (mnt / "file").read_text() == "one\n2\nthree\n"
    assert set(os.listdir(mnt)) == ({"file", "file~"} if backup.startswith("backup") else {"file"})


def test_grep_find_du(mnt, scratch):
    make_tree(scratch / "tree")
    run("cp", "-a", scratch / "tree", mnt / "tree")
    (mnt / "tree" / "src" / "deep" / "needle").write_text("hay\nneedle here\n")
    assert sh(f"cd {mnt} && grep -rl 'needle here' .").stdout == "./tree/src/deep/needle\n"
    local, mounted = (sh(f"cd {where}/tree && find . ! -name needle -printf '%p %y %m %s\\n' | grep -v ' d ' | sort")
                      for where in (scratch, mnt))
    assert mounted.stdout == local.stdout
    assert sh(f"find {mnt}/tree -type d | wc -l").stdout.strip() == "5"
    assert sh(f"find {mnt}/tree -type l").stdout.strip() == f"{mnt}/tree/link"
    files = (path for path in (mnt / "tree").rglob("*") if path.is_file() and not path.is_symlink())
    expected = sum(path.stat().st_size for path in files)
    sizes = sh(f"find {mnt}/tree -type f -printf '%s\\n'").stdout.split()
    assert sum(map(int, sizes)) == expected
    assert int(sh(f"du -s --block-size=1 {mnt}/tree").stdout.split()[0]) >= expected * 0.9


def test_touch_stat_chmod(mnt, mount):
    sh(f"""
        cd {mnt}; touch new; touch -d '2001-02-03 04:05:06 UTC' new; chmod 640 new; mkdir d; chmod 750 d
    """)
    file, directory = f"stat -c '%a %Y %s %F' {mnt}/new", f"stat -c '%a %F' {mnt}/d"
    assert sh(file).stdout == "640 981173106 0 regular empty file\n" and sh(directory).stdout == "750 directory\n"
    mount.remount()
    assert sh(file).stdout == "640 981173106 0 regular empty file\n"
    assert sh(directory).stdout == "750 directory\n" or not mount.bucket.keeps_marker_metadata


def test_ln_s_readlink(mnt):
    (mnt / "file").write_text("through the link")
    run("ln", "-s", "file", mnt / "link")
    assert run("readlink", mnt / "link").stdout == "file\n"
    assert run("cat", mnt / "link").stdout == "through the link"
    run("ln", "-sfn", "other", mnt / "link")
    assert os.readlink(mnt / "link") == "other"


def test_install_truncate_split_cat(mnt, scratch):
    (scratch / "source").write_bytes(pattern(250_000))
    sh(f"""
        cd {mnt}
        install -m 755 {scratch}/source program; test "$(stat -c %a program)" = 755
        install -d -m 700 a/b/c; test "$(stat -c %a a/b/c)" = 700
        split -b 60000 program part.; cat part.* > joined; cmp joined {scratch}/source
        truncate -s 100 joined; test "$(stat -c %s joined)" = 100; cmp -n 100 joined {scratch}/source
        truncate -s 1M joined; test "$(stat -c %s joined)" = 1048576
    """)
    assert (mnt / "joined").read_bytes() == pattern(250_000)[:100] + bytes((1 << 20) - 100)


def test_sort_into_the_same_file(mnt):
    lines = [f"{number:05}\n" for number in range(5000)]
    (mnt / "file").write_text("".join(reversed(lines)))
    run("sort", "-o", mnt / "file", mnt / "file")
    assert (mnt / "file").read_text() == "".join(lines)


def test_zip_gzip(mnt, scratch):
    tree = make_tree(scratch / "tree")
    sh(f"""
        cd {mnt}; cp -a {tree} tree
        zip --quiet -ry tree.zip tree; unzip -q -t tree.zip; mkdir out; cd out; unzip -q ../tree.zip
        cd ../tree/src; gzip -k file21.txt; gunzip -t file21.txt.gz; rm file21.txt; gunzip file21.txt.gz
    """)
    run("diff", "-r", tree, mnt / "out" / "tree")
    run("diff", "-r", tree, mnt / "tree")


def test_wc_head_tail(mnt):
    (mnt / "file").write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert run("wc", "-l", mnt / "file").stdout.split()[0] == "10000"
    assert run("head", "-n", "1", mnt / "file").stdout == "line 0\n"
    assert run("tail", "-n", "1", mnt / "file").stdout == "line 9999\n"
    assert run("tail", "-c", "5", mnt / "file").stdout == "9999\n"


def test_tail_f_follows_a_growing_file(mnt, scratch):
    (mnt / "log").write_text("first\n")
    with open(scratch / "seen", "wb") as out:
        tail = subprocess.Popen(["tail", "-n", "+1", "-s", "0.1", "-f", str(mnt / "log")], stdout=out)
    try:
        for number in range(5):
            with open(mnt / "log", "a") as log:
                log.write(f"line {number}\n")
            time.sleep(0.1)
        expected = "first\n" + "".join(f"line {number}\n" for number in range(5))
        wait_for(lambda: (scratch / "seen").read_text() == expected, 10, "tail -f has seen every line")
    finally:
        tail.kill()
        tail.wait()


def test_shell_redirections(mnt):
    sh(f"""
        cd {mnt}
        echo one > file; echo two >> file; cat file file > both; : > empty
        test "$(cat both)" = "$(printf 'one\\ntwo\\none\\ntwo')"; test ! -s empty
        set -o noclobber; ! (echo again > file) 2>/dev/null; tee copy < file > /dev/null; cmp copy file
    """)


def test_a_program_run_from_the_mount(mnt):
    (mnt / "script").write_text("#!/bin/sh\necho ran in $PWD\n")
    os.chmod(mnt / "script", 0o755)
    assert run(mnt / "script", cwd=mnt).stdout == f"ran in {mnt}\n"


def test_rm_r(mnt, scratch, bucket):
    run("cp", "-a", make_tree(scratch / "tree"), mnt / "tree")
    run("rm", "-r", mnt / "tree")
    assert os.listdir(mnt) == []


def _input(text):
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    return read
