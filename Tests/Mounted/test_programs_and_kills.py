"""Programs that know when their data is damaged, on a mount whose daemon is killed after them: what they closed is there, as an
S3 client reads it and as they check it themselves."""

import os
import signal

import pytest
from harness.content import describe, digests, make_tree, pattern, sha256_of
from harness.exerciser import exercise
from harness.processes import run, sh, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.first_user, pytest.mark.deadline(180)]

FIO = ["fio", "--name=job", "--size=12m", "--bsrange=1k-256k", "--ioengine=psync", "--verify=crc32c", "--verify_fatal=1",
       "--randseed=1", "--verify_state_save=0", "--rw=randwrite"]


def _killed(mount):
    """Kills the daemon, mounts again, and waits until the new mount has brought everything to the bucket."""
    os.kill(mount.daemon(), signal.SIGKILL)
    mount.wait_until_no_daemon()
    mount.start(*mount.options)
    wait_for(lambda: mount.status()["dirty_files"] == 0, 60, "everything recovered is uploaded")


def _over_a_kill(mount, mnt, bucket):
    """The files as they are now must be the same after a kill, for the mount and for an S3 client."""
    before = digests(mnt)
    _killed(mount)
    assert digests(mnt) == before
    assert {key: bucket.sha256(key) for key in bucket.files()} == before


def test_fio_verifies_what_it_wrote(mount, mnt, bucket, scratch):
    run(*FIO, f"--filename={mnt / 'data'}", "--end_fsync=1", "--do_verify=1", cwd=scratch)
    _over_a_kill(mount, mnt, bucket)
    run(*FIO, f"--filename={mnt / 'data'}", "--verify_only", cwd=scratch)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite3(mount, mnt, bucket, journal):
    statements = f"""
        pragma journal_mode={journal}; create table t (id integer primary key, value text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
            insert into t select i, hex(randomblob(60)) from n;
        create index by_value on t(value);
        begin; delete from t where id % 2 = 0; rollback; begin; update t set value = id where id % 3 = 0; commit;
    """
    run("sqlite3", mnt / "data.db", statements)
    _over_a_kill(mount, mnt, bucket)
    questions = "pragma integrity_check; select count(*), sum(value = id) from t"
    assert run("sqlite3", mnt / "data.db", questions).stdout.split() == ["ok", "3000|1000"]
    run("sqlite3", mnt / "data.db", "delete from t where id > 10; vacuum")
    assert run("sqlite3", mnt / "data.db", "pragma integrity_check").stdout == "ok\n"


def test_git_clone_and_gc(mount, mnt, bucket, scratch):
    sh(f"""
        git config --global user.email a@example.org; git config --global user.name A
        git config --global init.defaultBranch main; git config --global gc.auto 0
        git init --quiet {scratch}/source; cd {scratch}/source
        for i in 1 2 3; do for f in a b c; do echo "$f $i" >> $f; git add $f; git commit --quiet -m "$f $i"; done; done
        git clone --quiet {scratch}/source {mnt}/clone; cd {mnt}/clone
        git gc --quiet; git fsck --strict
    """)
    _over_a_kill(mount, mnt, bucket)
    sh(f"cd {mnt}/clone; git fsck --strict; test -z \"$(git status --porcelain)\"; git gc --quiet; "
       f"diff -r --exclude .git . {scratch}/source")


def test_rsync_moves_nothing_the_second_time(mount, mnt, scratch):
    tree = make_tree(scratch / "tree")
    run("rsync", "-a", f"{tree}/", mnt / "tree")
    _killed(mount)
    assert describe(mnt / "tree") == describe(tree)
    again = run("rsync", "-a", "--itemize-changes", f"{tree}/", mnt / "tree")
    assert again.stdout == "", "a second rsync -a found something to do after a kill"


def test_dd_with_fsync(mount, mnt, bucket, scratch):
    (scratch / "source").write_bytes(pattern(20_000_003))
    run("dd", f"if={scratch / 'source'}", f"of={mnt / 'copy'}", "bs=300001", "conv=fsync", "status=none")
    os.kill(mount.daemon(), signal.SIGKILL)
    # fsync has returned: no next mount is needed for it.
    assert bucket.sha256("copy") == sha256_of(pattern(20_000_003))
    mount.wait_until_no_daemon()
    mount.start()


@pytest.mark.mount_options("--part-size", "5M")
@pytest.mark.parametrize("seed", [11, 12])
def test_the_exerciser_over_kills(mount, mnt, bucket, seed):
    content = exercise(mnt / "file", seed, 60, after=lambda: _killed(mount))
    _killed(mount)
    assert bucket.sha256("file") == sha256_of(content)
