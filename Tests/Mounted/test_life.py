"""Config files, fstab, figures, logs, and everything between boot and unmount."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
from harness import mount_table
from harness.content import pattern, write_large
from harness.counting import counting_relay
from harness.holders import holding
from harness.processes import run, wait_for
from harness.terminal import terminal

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.no_compare]


def _configure(mount, text):
    directory = mount.home / ".config" / "pail"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.toml").write_text(text)


# MARK: config files

@pytest.mark.unmounted
def test_a_named_mount(mount, mnt, bucket):
    bucket.put("file", b"text")
    _configure(mount, f'''
[defaults]
ttl = 1
[mounts.data]
source = "{bucket.source}"
mountpoint = "{mnt}"
read-only = true
options = ["noexec"]
''')
    mount.pail("mount", "data")
    assert (mnt / "file").read_bytes() == b"text"
    (entry,) = mount_table.at(mnt)
    with open("/proc/self/mountinfo") as file:
        line = next(line for line in file if f" {mnt} " in line)
    assert "ro," in line and "noexec" in line, entry
    mount.pail("umount", "data")
    assert not mount_table.at(mnt)
    mount.pail("mount", "-o", "rw", "data", )
    (mnt / "new").write_text("new")
    mount.pail("umount", "data")
    assert bucket.get("new") == b"new"


@pytest.mark.unmounted
@pytest.mark.parametrize("text, words", [
    ("[defaults]\ncahce-size = 1\n", ["unknown key 'cahce-size'", "'cache-size'"]),
    ("[defaults\n", ["config.toml, line 1"]),
    ("[mounts.date]\nsource = 's3://b'\n", ["[mounts.data]", "did you mean 'date'"]),
], ids=["key", "syntax", "name"])
def test_mistakes_in_a_config_file_are_one_line(mount, text, words):
    _configure(mount, text)
    result = mount.pail("mount", "data", check=False)
    assert result.code == 2 and len(result.stderr.splitlines()) <= 2, str(result)
    for word in words:
        assert word in result.stderr, str(result)


# MARK: fstab

@pytest.fixture
def helpers(mount):
    """The program under the names by which mount(8) and umount(8) find it."""
    if os.geteuid() != 0:
        pytest.skip("fstab is root's")
    places = [f"/sbin/{name}" for name in ("mount.pail", "umount.fuse.pail")]
    if any(os.path.lexists(each) for each in places):
        pytest.skip("pail is installed on this machine")
    for each in places:
        os.symlink(mount.tool.program, each)
    yield
    for each in places:
        os.unlink(each)


def _fstab(mount, bucket, mnt, options="_netdev,nofail,ttl=1"):
    path = mount.scratch / "fstab"
    name = str(mnt).replace(" ", "\\040")
    path.write_text(f"{bucket.source} {name} pail {options} 0 0\n")
    return str(path)


@pytest.mark.unmounted
def test_fstab(mount, mnt, bucket, helpers):
    """mount -a, mount(8) again after a crash, and umount(8), which waits for the uploads."""
    fstab = _fstab(mount, bucket, mnt)
    everything = ["mount", "-a", "--fstab", fstab, "-t", "pail"]
    subprocess.run(everything, env=mount.environment, check=True, timeout=60)
    (mnt / "file").write_bytes(pattern(300_000))
    os.kill(mount.daemon(), signal.SIGKILL)
    mount.wait_until_no_daemon()
    # For mount -a the place is still mounted: it asks nobody.
    subprocess.run(["mount", "--fstab", fstab, str(mnt)], env=mount.environment, check=True, timeout=60)
    assert (mnt / "file").read_bytes() == pattern(300_000)
    digest = write_large(mnt / "large", 40)
    subprocess.run(["umount", str(mnt)], env=mount.environment, check=True, timeout=60)
    assert not mount_table.at(mnt)
    assert bucket.sha256("large") == digest and bucket.get("file") == pattern(300_000)


@pytest.mark.unmounted
def test_fstab_that_cannot_be_mounted(mount, mnt, bucket, helpers):
    result = subprocess.run(["mount", "-t", "pail", "s3://there-is-no-such-bucket-4711", str(mnt)],
                            env=mount.environment, timeout=60, capture_output=True, text=True)
    assert result.returncode == 32 and "NoSuchBucket" in result.stderr, result
    result = subprocess.run(["mount", "-t", "pail", "-o", "tll=1", bucket.source, str(mnt)],
                            env=mount.environment, timeout=60, capture_output=True, text=True)
    assert result.returncode == 1 and "did you mean 'ttl'" in result.stderr, result


@pytest.mark.unmounted
@pytest.mark.parametrize("unit", ["pail@.service", "user/pail@.service", "examples/srv-data.mount",
                                  "examples/srv-data.automount"])
def test_units_are_what_systemd_understands(mount, unit):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    source = os.path.join(os.path.dirname(__file__), "..", "..", "systemd", unit)
    copies = mount.scratch / "units"
    copies.mkdir()
    for other in ("srv-data.mount", "srv-data.automount"):
        shutil.copy(os.path.join(os.path.dirname(source), "..", "examples", other)
                    if not unit.startswith("pail@") else
                    os.path.join(os.path.dirname(source), "examples", other), copies)
    name = os.path.basename(unit).replace("@.", "@data.")
    with open(source) as file:
        text = file.read().replace("/usr/bin/pail", mount.tool.program).replace("man:pail(1)", "file:///")
    (copies / name).write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copies / name)], capture_output=True,
                            text=True, timeout=30, env=mount.environment | {"XDG_RUNTIME_DIR": str(mount.runtime)})
    complaints = [line for line in result.stderr.splitlines() if name in line]
    assert not complaints, result.stderr


# MARK: figures

def _get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.unmounted
def test_figures_for_prometheus(mount, mnt, bucket):
    bucket.put("file", pattern(100_000))
    mount.start("--metrics", "127.0.0.1:0", "--log-file", str(mount.log))
    base = re.search(r"http://127.0.0.1:\d+", mount.log.read_text()).group()
    assert (mnt / "file").read_bytes() == pattern(100_000)
    (mnt / "new").write_bytes(b"new")
    mount.flush()
    status, text = _get(base + "/metrics")
    assert status == 200
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = re.fullmatch(r'(\w+\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}) (\S+)', line).groups()
            samples[name] = float(value)
    def total(name, *labels):
        return sum(value for key, value in samples.items()
                   if key.startswith(name + "{") and all(each in key for each in labels))
    assert total("pail_s3_requests_total", 'operation="GetObject"', 'outcome="ok"') >= 1
    assert total("pail_s3_requests_total", 'operation="PutObject"', 'outcome="ok"') >= 1
    assert total("pail_fuse_operation_seconds_count", 'operation="read"') >= 1
    assert total("pail_fuse_operation_seconds_count", 'operation="write"') == 1
    assert total("pail_s3_request_seconds_count", 'operation="PutObject"') >= 1
    assert total("pail_cache_fetched_bytes_total") >= 100_000
    assert total("pail_dirty_files") == 0 and total("pail_healthy") == 1
    assert total("pail_memory_bytes", 'kind="resident"') > 1 << 20
    assert _get(base + "/healthz") == (200, "ok\n") and _get(base + "/x")[0] == 404
    # The dashboard asks for nothing that is not told.
    dashboard = os.path.join(os.path.dirname(__file__), "..", "..", "monitoring", "grafana-dashboard.json")
    with open(dashboard) as file:
        asked = set(re.findall(r"pail_\w+", json.dumps(json.load(file))))
    told = {key.partition("{")[0] for key in samples}
    assert asked - told <= {"pail_disk_cache_bytes"}, asked - told
    mount.stop()


def test_status_tells_operations_and_processes(mount, mnt):
    (mnt / "file").write_bytes(b"text")
    mount.flush()
    status = mount.status()
    assert status["operations"]["write"]["count"] == 1 and status["operations"]["write"]["p99_seconds"] > 0
    assert status["requests"]["PutObject"]["p50_seconds"] > 0
    assert any(each["pid"] == os.getpid() for each in status["processes"]), status["processes"]
    assert status["waiting"] == []


def test_status_watched_in_a_terminal(mount, mnt):
    (mnt / "file").write_bytes(pattern(1_000_000))
    mount.flush()
    with terminal(mount, f"exec {mount.tool.program} status --watch {mnt}") as shown_in:
        wait_for(lambda: "operations/s" in shown_in.screen(), 30, "the rates")
        shown = shown_in.screen()
        assert shown.count(str(mnt)) == 1, shown
        assert "PutObject" in shown and "p99" in shown and "processes" in shown, shown


@pytest.mark.unmounted
@pytest.mark.deadline(180)
def test_a_drain_watched_in_a_terminal(mount, mnt, bucket):
    """umount over a thin link: one line, in place, that tells how much, how fast and how long; then it is in S3."""
    with counting_relay(bucket.server.endpoint, rate_mb=0.6) as relay:
        mount.endpoint = relay.endpoint
        mount.start()
        (mnt / "small").write_text("the first upload, for which close() waits")
        (mnt / "large").write_bytes(pattern(100_000_000))
        for index in range(30):
            (mnt / f"more{index}").write_bytes(pattern(100_000, index))
        done = mount.scratch / "done"
        command = f"{mount.tool.program} umount --timeout 120 {mnt}; echo $? > {done}; sleep 100"
        bars = set()
        with terminal(mount, command) as shown_in:
            def ended():
                bars.update(line for line in shown_in.screen().splitlines() if "%" in line)
                return done.exists() and done.read_text()
            wait_for(ended, 120, "the drain")
        assert done.read_text() == "0\n" and not mount_table.at(mnt)
        assert len(bars) > 5, bars
        shares = sorted(int(re.search(r"(\d+) ?%", bar).group(1)) for bar in bars)
        assert shares[0] < 50 < shares[-1], shares
        assert all(len(bar) <= 100 for bar in bars)
        assert any(re.search(r"MB/s|MiB/s", bar) for bar in bars), bars
    assert bucket.get("large") == pattern(100_000_000)
    assert all(bucket.get(f"more{index}") == pattern(100_000, index) for index in range(30))


# MARK: logs

@pytest.mark.unmounted
def test_the_log_at_run_time(mount, mnt, bucket):
    """SIGUSR2 tells everything and then as little as before; SIGHUP opens a new file."""
    bucket.put("file", b"text")
    mount.start("--log-file", str(mount.log))
    assert os.listdir(mnt) == ["file"]
    assert "readdir" not in mount.log.read_text()
    os.kill(mount.daemon(), signal.SIGUSR2)
    wait_for(lambda: "level debug" in mount.log.read_text(), 20, "the level")
    assert (mnt / "file").read_bytes() == b"text"
    wait_for(lambda: re.search(r"debug fuse: (open|read) '/file' by \d+: ok in \d+ us", mount.log.read_text()), 20,
             "an operation in the log")
    assert re.search(r"debug s3: GetObject \S*file 20[06] in \d+ us, try 1, request \S+", mount.log.read_text())
    os.kill(mount.daemon(), signal.SIGUSR2)
    wait_for(lambda: "level info" in mount.log.read_text(), 20, "the level")
    old = mount.log.with_suffix(".1")
    mount.log.rename(old)
    os.kill(mount.daemon(), signal.SIGHUP)
    wait_for(mount.log.exists, 20, "the new log")
    assert oct(mount.log.stat().st_mode & 0o777) == "0o600"
    assert os.listdir(mnt) == ["file"]
    mount.stop()
    assert "unmounted" in mount.log.read_text() and "unmounted" not in old.read_text()
    assert mount.bucket.server.secret_key not in mount.log.read_text() + old.read_text()


# MARK: unmounting

def test_umount_as_json(mount, mnt):
    with holding("open file", mnt, 600) as pid:
        result = mount.pail("umount", "--json", "--timeout", "1", mnt, check=False)
        assert result.code == 3
        (report,) = json.loads(result.stdout)
        assert report["mountpoint"] == str(mnt) and report["outcome"] == "busy" and report["exit_code"] == 3
        (holder,) = report["holders"]["processes"]
        assert holder["pid"] == pid and any(str(mnt) in each["path"] for each in holder["holds"]), report
    (report,) = json.loads(mount.pail("umount", "--json", mnt).stdout)
    assert report["outcome"] == "unmounted" and report["exit_code"] == 0 and "holders" not in report


@pytest.mark.unmounted
def test_a_mountpoint_with_spaces_and_letters(mount, bucket):
    mnt = mount.scratch / "Meßdaten und mehr ☂\t x"
    mnt.mkdir()
    mount.pail("mount", bucket.source, mnt)
    (mnt / "file").write_text("text")
    assert json.loads(mount.pail("status", "--json", mnt).stdout)["mountpoint"] == str(mnt)
    mount.pail("umount", mnt)
    assert bucket.get("file") == b"text" and not mount_table.at(mnt)


def test_lazily_means_now(mount, mnt, bucket):
    """Detached at once, though held; the data arrives before the command returns."""
    with open(mnt / "held", "wb") as file:
        file.write(pattern(100_000))
        file.flush()
        (mnt / "other").write_bytes(pattern(5_000_000))
        result = mount.pail("umount", "--lazy", mnt, check=False, timeout=60)
        assert not mount_table.at(mnt) and result.seconds < 40, str(result)
        assert bucket.get("other") == pattern(5_000_000)
    mount.wait_until_no_daemon(40)
    assert bucket.get("held") == pattern(100_000)


def test_ps_knows_the_daemon(mount):
    assert open(f"/proc/{mount.daemon()}/comm").read() == "pail\n"


@pytest.mark.unmounted
def test_secrets_are_nowhere_to_be_read(mount, mnt, bucket):
    mount.start()
    secret = bucket.server.secret_key
    pid = mount.daemon()
    assert secret not in open(f"/proc/{pid}/cmdline").read()
    assert secret not in open("/proc/self/mountinfo").read()
    limits = open(f"/proc/{pid}/limits").read()
    assert re.search(r"Max core file size +0 +0", limits), limits
    # The limit does not hold where cores are piped to a program; what holds shows in whose its /proc is (prctl(2)).
    if mount.actor.uid != 0:
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    assert secret not in mount.pail("status", "--json", mnt).stdout
    mount.stop()


# MARK: installing

@pytest.mark.unmounted
def test_install_in_a_clean_root(mount):
    """Everything is where it belongs, works from there, and is gone after --uninstall."""
    repository = os.path.join(os.path.dirname(__file__), "..", "..")
    root = mount.scratch / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/updatedb.conf").write_text('PRUNEFS="NFS fuse.sshfs"\n')
    install = [os.path.join(repository, "scripts", "install"), "--destdir", str(root), "--prefix", "/usr"]
    environment = mount.environment
    subprocess.run([*install, "--program", mount.tool.program], check=True, timeout=60, env=environment)
    assert os.readlink(root / "sbin/mount.pail") == "/usr/bin/pail"
    assert os.readlink(root / "sbin/umount.fuse.pail") == "/usr/bin/pail"
    assert 'PRUNEFS="NFS fuse.sshfs fuse.pail"' in (root / "etc/updatedb.conf").read_text()
    assert "ExecStart=/usr/bin/pail mount" in (root / "lib/systemd/system/pail@.service").read_text()
    assert run(root / "usr/bin/pail", "--version").stdout.startswith("pail ")
    # Each shell reads its own, where it is installed, and has something to offer for `pail um`.
    completions = {"bash": "bash-completion/completions/pail", "zsh": "zsh/site-functions/_pail",
                   "fish": "fish/vendor_completions.d/pail.fish"}
    for shell, path in completions.items():
        if shutil.which(shell):
            subprocess.run([shell, "-n", root / "usr/share" / path], check=True, env=environment)
    if shutil.which("fish"):
        path = f"{root}/usr/bin:{environment['PATH']}"
        offered = run("fish", "--no-config", "--command", f"source {root / 'usr/share' / completions['fish']}; complete -C 'pail um'",
                      env=environment | {"PATH": path}).stdout
        assert "umount" in offered, offered
    manual = (root / "usr/share/man/man1/pail.1").read_text().replace("\\", "")
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", mount.pail("help", "mount").stdout):
        assert option in manual or option in ("--version", "--help"), option
    subprocess.run([*install, "--uninstall"], check=True, timeout=60, env=environment)
    left = [path for path in root.rglob("*") if not path.is_dir()]
    assert left == [root / "etc/updatedb.conf"] and "fuse.pail" not in left[0].read_text()


@pytest.mark.unmounted
@pytest.mark.actors("root")
@pytest.mark.deadline(240)
def test_the_debian_package_in_a_clean_root(mount):
    """It names the packages of every library that the program needs, works where dpkg puts it, and leaves nothing."""
    repository = os.path.join(os.path.dirname(__file__), "..", "..")
    root, output = mount.scratch / "root", mount.scratch / "deb"
    for path in ("etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / path).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/updatedb.conf").write_text('PRUNEFS="NFS fuse.sshfs"\n')
    environment = dict(os.environ, PAIL_PROGRAM=mount.tool.program)
    subprocess.run([os.path.join(repository, "scripts", "make-deb"), output], check=True, timeout=120, env=environment,
                   stdout=subprocess.DEVNULL)
    package, = output.glob("pail_*.deb")
    depends = run("dpkg-deb", "-f", package, "Depends").stdout
    for name in ("libc6 (>= ", "libsqlite3-0", "libfuse3", "libcurl4", "libssl3", "libexpat1", "libstdc++6", "fuse3"):
        assert name in depends, depends
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", "--log=/dev/null"]
    subprocess.run([*dpkg, "-i", package], check=True, timeout=60, capture_output=True)
    assert 'PRUNEFS="NFS fuse.sshfs fuse.pail"' in (root / "etc/updatedb.conf").read_text()
    assert run(root / "usr/bin/pail", "--version").stdout.startswith("pail ")
    assert (root / "lib/systemd/system/pail@.service").exists() or (root / "usr/lib/systemd/system/pail@.service").exists()
    subprocess.run([*dpkg, "--purge", "pail"], check=True, timeout=60, capture_output=True)
    assert "fuse.pail" not in (root / "etc/updatedb.conf").read_text()
    assert not (root / "usr/bin/pail").exists() and not list(root.rglob("pail@.service"))


# MARK: Python

def _recipe(mount, script, umount=""):
    """Runs what doc/python.md shows, and a script behind it; `umount` are options for `pail umount`."""
    page = os.path.join(os.path.dirname(__file__), "..", "..", "doc", "python.md")
    with open(page) as file:
        (recipe,) = re.findall(r"```python\n(.*?)```", file.read(), re.S)
    programs = mount.scratch / "bin"
    programs.mkdir()
    (programs / "pail").write_text(f'''#!/bin/sh
if [ "$1" = umount ]; then shift; set -- umount {umount} "$@"; fi
exec {mount.tool.program} "$@"
''')
    (programs / "pail").chmod(0o755)
    environment = mount.environment | {"PATH": f"{programs}:{mount.environment['PATH']}"}
    return run("python3", "-c", recipe + script, env=environment)


@pytest.mark.unmounted
def test_the_recipe_for_python(mount, bucket):
    """What doc/python.md shows works, and unmounts after an exception too."""
    bucket.put("in", b"text")
    _recipe(mount, f'''
try:
    with mounted("{bucket.source}", "--ttl", "1") as data:
        text = open(data + "/in").read()
        with open(data + "/out", "w") as file:
            file.write(text.upper())
        raise KeyError(data)
except KeyError as error:
    assert not os.path.exists(error.args[0]), error
try:
    with mounted("s3://there-is-no-such-bucket-4711"):
        pass
    raise AssertionError("mounted")
except subprocess.CalledProcessError as error:
    assert not os.path.exists(error.cmd[-1]), error
''')
    assert bucket.get("out") == b"TEXT"


@pytest.mark.unmounted
def test_the_recipe_for_python_removes_no_objects(mount, bucket):
    """A file that stays open keeps the mount: its directory is not removed through it."""
    bucket.put_many({"in": b"text", "deep/er": b"deeper"})
    result = _recipe(mount, f'''
try:
    with mounted("{bucket.source}") as data:
        file = open(data + "/out", "w")
        file.write("text")
    raise AssertionError("unmounted")
except subprocess.CalledProcessError as error:
    assert error.returncode == 3, error
print(data)
''', umount="--timeout 1")
    path = result.stdout.strip()
    assert bucket.get("in") == b"text" and bucket.get("deep/er") == b"deeper"
    mount.pail("umount", path)
    assert bucket.get("out") == b"text" and os.listdir(path) == []
    os.rmdir(path)
