"""Options, the matrix of servers and users, and the fixtures of the mounted tests. README.md says how to run them."""

import codecs
import functools
import os
import shutil
import tempfile
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import actors, isolation, mount_table, servers, tools
from harness.mount import Mount
from harness.processes import processes_of

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class Place:
    """Where a test runs: a server (None for a local directory) and a user."""

    server: servers.Server | None
    user: str

    def __str__(self):
        return f"{self.server.name if self.server else 'local'}-{self.user}"


def pytest_addoption(parser):
    group = parser.getgroup("pail")
    # With an equals sign, `--pail=PATH`: pytest would take a separate path for a place of tests, and lose pytest.ini.
    group.addoption("--pail", default=os.environ.get("PAIL_TEST_PROGRAM"), metavar="PATH",
                    help="the pail program, as --pail=PATH (default: the environment's PAIL_TEST_PROGRAM, else the "
                         "newest build of this checkout)")
    group.addoption("--s3", default=os.environ.get("PAIL_TEST_S3", ""),
                    help="servers as 'name=URL,ACCESS,SECRET;...' (default: the environment's PAIL_TEST_S3)")
    group.addoption("--tool", default="pail", choices=["pail", "s3fs", "local"], help="what mounts")
    group.addoption("--users", default="root,user", help="root, user or both; one's own when not root")
    group.addoption("--matrix", default="lean", choices=["lean", "full"],
                    help="lean: every server as root, the first one as an ordinary user too; full: all of both")


def pytest_configure(config):
    # Loaded on first use otherwise, which a user who cannot read the interpreter's library would fail at.
    for codec in ("cp437", "idna", "unicode_escape", "latin-1"):
        codecs.lookup(codec)
    config.pail = Run(config)


def pytest_unconfigure(config):
    config.pail.close()


def pytest_sessionfinish(session):
    """A worker of pytest-xdist tells what it removed; its run is summarised by another process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["swept"] = session.config.pail.swept


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    node.config.pail.swept += getattr(node, "workeroutput", {}).get("swept", [])


def pytest_generate_tests(metafunc):
    if "place" in metafunc.fixturenames:
        places = metafunc.config.pail.places(metafunc.definition)
        metafunc.parametrize("place", places, ids=str, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs the body in a process of its own, as the place's user, with the test's mount made before it."""
    mount = pyfuncitem.funcargs.get("mount")
    if mount is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    marker = functools.partial(pyfuncitem.get_closest_marker)

    def body():
        if not marker("unmounted"):
            mount.start()
        pyfuncitem.obj(**arguments)
        if marker("unmounted"):
            return
        if marker("no_compare"):
            # Some of these have unmounted themselves.
            if mount.mounted:
                mount.stop()
        else:
            mount.compare()

    seconds = marker("deadline").args[0] if marker("deadline") else DEADLINE_SECONDS
    child, answer = isolation.run_body(body, mount.actor, mount.environment, seconds)
    pyfuncitem.config.pail.finish(mount, child, answer)
    return True


def pytest_terminal_summary(terminalreporter, config):
    config.pail.summarise(terminalreporter)


class Run:
    """One run of the suite: its servers, its users, its directory, and what tests left behind."""

    def __init__(self, config):
        self.config, self._stack = config, ExitStack()
        self._buckets, self._number, self.swept, self.counts = {}, 0, [], Counter()
        self._actors = {}
        self.servers = servers.parse(config.getoption("--s3"))
        if config.getoption("numprocesses", None) and os.geteuid() == 0 and "user" in self._users():
            # For all workers at once, and until the last has ended: each alone would take it from the others.
            self._stack.enter_context(actors.fuse_for_everyone())

    @functools.cached_property
    def directory(self):
        path = tempfile.mkdtemp(prefix="pail-mounted-")
        os.chmod(path, 0o755)
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    @functools.cached_property
    def tool(self):
        name = self.config.getoption("--tool")
        return {"local": tools.Local, "s3fs": tools.S3fs}[name]() if name != "pail" else tools.Pail(self._program())

    def _program(self):
        given = self.config.getoption("--pail")
        built = [REPOSITORY / ".build" / kind / "pail" for kind in ("release", "debug")]
        found = [Path(given)] if given else sorted((p for p in built if p.exists()), key=lambda p: -p.stat().st_mtime)
        if not found or not found[0].exists():
            raise pytest.UsageError("no pail program: build it, or give --pail PATH or --tool local")
        program = str(found[0].resolve())
        if os.geteuid() == 0 and "user" in self._users() and not actors.reachable(program, self.actor("user")):
            program = actors.copy_for_everyone(program, self.directory)
        return program

    def _users(self):
        if os.geteuid() != 0:
            return ["user"]
        return [each for each in self.config.getoption("--users").split(",") if each]

    def places(self, definition):
        """The places of a test, by its markers and the options."""
        users = self._users()
        if marker := definition.get_closest_marker("actors"):
            users = [each for each in users if each in marker.args]
        if self.config.getoption("--tool") == "local":
            return [Place(None, user) for user in users]
        if not self.servers:
            raise pytest.UsageError("no S3 server: give --s3 or PAIL_TEST_S3, or --tool local")
        usable = self.servers[:1] if definition.get_closest_marker("first_server") else self.servers
        full = self.config.getoption("--matrix") == "full"
        if definition.get_closest_marker("first_user") and not full:
            users = users[:1]
        return [Place(server, user) for index, server in enumerate(usable) for user in users
                if full or index == 0 or user == users[0]]

    def actor(self, user):
        if user == "root" or os.geteuid() != 0:
            return actors.current()
        if user not in self._actors:
            self._stack.enter_context(actors.fuse_for_everyone())
            name = f"pail{'' if user == 'user' else 'o'}{os.getpid()}"
            self._actors[user] = self._stack.enter_context(actors.temporary_user(name))
        return self._actors[user]

    def bucket(self, server, module, own, directory):
        if server is None:
            return servers.LocalBucket(directory / "mnt")
        if own:
            name = server.new_bucket()
            self._stack.callback(server.drop_bucket, name)
            return servers.Bucket(server, name, "")
        if (server, module) not in self._buckets:
            self._buckets[server, module] = server.new_bucket()
            self._stack.callback(server.drop_bucket, self._buckets[server, module])
        bucket = servers.Bucket(server, self._buckets[server, module], f"t{self._number}/")
        bucket.files()
        bucket.put("")  # s3fs and others refuse to mount a prefix that is not there
        return bucket

    def mount(self, place, request):
        """The mount of one test, with fresh directories and a fresh bucket or prefix; not mounted yet."""
        self._number += 1
        directory = self.directory / f"t{self._number}"
        directory.mkdir()
        own = request.node.get_closest_marker("whole_bucket") is not None
        bucket = self.bucket(place.server, request.module.__name__, own, directory)
        options = [str(each) for marker in reversed(list(request.node.iter_markers("mount_options")))
                   for each in marker.args]
        return Mount(self.tool, self.actor(place.user), bucket, directory, uuid.uuid4().hex, options)

    def finish(self, mount, session, answer):
        """Sweeps after a body, and reports it. A body that passed must have left nothing."""
        passed = answer[0] == "passed"
        removed = isolation.sweep(mount.mark, mount.directory, session, grace=5 if passed else 0)
        if answer[0] == "failed":
            print(f"--- {mount.log}\n{_tail(mount.log)}")
        if removed and passed:
            self.swept += removed
            answer = ("failed", "left behind after the test:\n  " + "\n  ".join(removed))
        isolation.report(answer)

    def summarise(self, reporter):
        outcomes = Counter()
        for outcome in ("passed", "failed", "error", "skipped"):
            for report in reporter.stats.get(outcome, []):
                place = next((part for part in report.nodeid.rpartition("[")[2].rstrip("]").split("-")
                              if part in ("root", "user")), "")
                server = next((each.name for each in self.servers if each.name in report.nodeid), "local")
                outcomes[f"{server} {place}".strip(), outcome] += 1
        reporter.section("mounted tests")
        for place in sorted({place for place, _ in outcomes}):
            counts = ", ".join(f"{outcomes[place, each]} {each}" for each in ("passed", "failed", "error", "skipped")
                               if outcomes[place, each])
            reporter.line(f"{place:24} {counts}")
        # Looked up in __dict__: a run that collected nothing has no directory, and must not make one now.
        directory = self.__dict__.get("directory")
        left = [each.path for each in mount_table.under(directory)] if directory else []
        processes = [str(each) for each in processes_of(uuid.uuid4().hex, directory)] if directory else []
        reporter.line(f"left behind: {len(left)} mounts, {len(processes)} processes"
                      + (f"; removed after tests: {len(self.swept)}" if self.swept else ""))

    def close(self):
        self._stack.close()


def _tail(path, lines=80):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"


@pytest.fixture
def place(request):
    """The server and the user of this test."""
    return request.param


@pytest.fixture
def mount(place, request):
    """The test's mount: mounted when the body starts, compared with the bucket and unmounted when it ends."""
    run = request.config.pail
    if marker := request.node.get_closest_marker("needs"):
        missing = set(marker.args) - run.tool.features
        if missing:
            pytest.skip(f"needs {', '.join(sorted(missing))}")
    made = run.mount(place, request)
    yield made
    made.bucket.clear()
    shutil.rmtree(made.directory, ignore_errors=True)


@pytest.fixture
def bucket(mount):
    """The objects below the mount, as an S3 client sees them."""
    return mount.bucket


@pytest.fixture
def mnt(mount):
    """The path where the bucket is mounted."""
    return mount.path


@pytest.fixture
def scratch(mount):
    """A directory on the local disk, owned by the test's user."""
    return mount.scratch


@pytest.fixture
def stranger(request):
    """A third user who owns nothing here (tests as root only)."""
    return request.config.pail.actor("other")
