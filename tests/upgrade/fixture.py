"""What a release leaves behind: how it is made (scripts/make_fixture) and how it is opened again
(upgrade_test). A fixture holds a lake, a work_dir and the records of a Postgres store; its source is
made anew each time, so that it matches: docs/upgrading.md says how."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tarfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
FIXTURES = TOP / "tests/fixtures"
HERE = pathlib.Path(__file__).resolve().parent

# What initdb draws by lot and what depends on the server's version, as all sources here have it.
SYSTEM_IDENTIFIER = 7_300_000_000_000_000_001
FIRST_OID = 50_000
FIRST_XID = 5_000
FIRST_SEGMENT = 0x100
WAL_SEGMENT_MB = 1
# Between what happens in before.sql and the last position of a fixture's lake. A source that is
# made again has not yet come there when all of before.sql has happened.
GAP_SEGMENTS = 40

LAKE_PIPELINE, STORE_PIPELINE = 7, 8
PLACE = "@PLACE@"  # Where the fixture is: absolute paths in the catalog begin with it.


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def set_system_identifier(control_file):
    """The first eight bytes of pg_control, under the checksum that follows the data somewhere."""
    data = bytearray(control_file.read_bytes())
    for end in range(200, 512, 4):
        if struct.unpack_from("<I", data, end)[0] == crc32c(data[:end]):
            struct.pack_into("<Q", data, 0, SYSTEM_IDENTIFIER)
            struct.pack_into("<I", data, end, crc32c(data[:end]))
            control_file.write_bytes(data)
            return
    raise RuntimeError(f"{control_file}: no checksum was found")


def server_user():
    """Who runs the server, as in tests/support/pg_cluster.cc: Postgres refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "walbrook-test"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    subprocess.run(["useradd", "-r", "walbrook-test"], check=True)
    return pwd.getpwnam("walbrook-test")


class Source:
    """A server of its own in a folder, stopped at the end of the with-block."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.bin = TOP / ".deps/pg/clients/bin"
        if not (self.bin / "postgres").exists():
            raise RuntimeError(f"no Postgres at {self.bin}: run scripts/deps --tests")
        who = server_user()
        self.user, self.group = (who.pw_uid, who.pw_gid) if who else (None, None)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        if self.user and self.run_as_server(self.bin / "postgres", "--version", check=False).returncode:
            copy = self.folder / "pg"  # The server's user cannot reach ours.
            shutil.copytree(self.bin.parent, copy, symlinks=True)
            self.bin = copy / "bin"
        self.data = self.folder / "data"
        self.data.mkdir()
        if self.user:
            os.chown(self.data, self.user, self.group)
            os.chown(self.folder, self.user, self.group)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def run_as_server(self, program, *args, check=True):
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run([program, *args], cwd=self.folder, env=environment, user=self.user,
                              group=self.group, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stdout}")
        return done

    def __enter__(self):
        self.run_as_server(self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                           "--locale=C.UTF-8", "--no-sync", f"--wal-segsize={WAL_SEGMENT_MB}")
        set_system_identifier(self.data / "global/pg_control")
        per_file = (1 << 32) // (WAL_SEGMENT_MB << 20)
        segment = f"00000001{FIRST_SEGMENT // per_file:08X}{FIRST_SEGMENT % per_file:08X}"
        self.run_as_server(self.bin / "pg_resetwal", "-f", "-D", self.data, "-o", str(FIRST_OID),
                           "-x", str(FIRST_XID), "-l", segment)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as out:
            out.write(f"wal_level = logical\nfsync = off\nlisten_addresses = '127.0.0.1'\nport = {self.port}\n"
                      f"unix_socket_directories = '{self.folder}'\nshared_buffers = 32MB\nautovacuum = off\n")
        self.server = subprocess.Popen(
            [self.bin / "postgres", "-D", self.data], cwd=self.folder, user=self.user, group=self.group,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "log", "w", encoding="utf-8"), stderr=subprocess.STDOUT)
        wait_for("the server", lambda: self.psql("select 1", check=False).returncode == 0, self.server)
        self.sql("create database store")
        # The pipelines' slots, as the program makes them at its first start.
        for pipeline in (LAKE_PIPELINE, STORE_PIPELINE):
            self.sql(f"select pg_create_logical_replication_slot('walbrook_{pipeline}', 'pgoutput')")
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait()

    def psql(self, *commands, database="postgres", check=True):
        words = [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            [self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
             str(self.port), "-U", "postgres", "-d", database, *words], env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"psql: {done.stdout}")
        return done

    def sql(self, *commands, database="postgres"):
        return self.psql(*commands, database=database).stdout.strip()

    def psql_file(self, text, database="postgres"):
        """Each statement in a transaction of its own."""
        path = self.folder / "statements.sql"
        path.write_text(text, encoding="utf-8")
        subprocess.run([self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                        str(self.port), "-U", "postgres", "-d", database, "-f", path], check=True,
                       env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def run_part(self, number, text):
        """Numbers begin at a round one, whatever others have used before."""
        self.sql("do $$ begin while pg_current_xact_id()::text::bigint < "
                 f"{FIRST_XID + 1000 * (number + 1)} loop commit; end loop; end $$",
                 "do $$ declare o oid; begin loop o := lo_creat(-1); perform lo_unlink(o); exit when o >= "
                 f"{FIRST_OID + 1000 * (number + 1)}; end loop; end $$")
        self.psql_file(text)

    def pass_gap(self):
        for _ in range(GAP_SEGMENTS):
            self.sql("select pg_logical_emit_message(false, 'gap', '')", "select pg_switch_wal()")

    def numbers(self):
        """What the records of a fixture name: the tables and how they belong to the publication."""
        return self.sql("select c.oid, c.relname, c.relfilenode, r.oid, r.xmin, (select string_agg(a.xmin::text, ',' "
                        "order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0) from "
                        "pg_class c join pg_publication_rel r on r.prrelid = c.oid order by c.oid").splitlines()


def wait_for(what, is_there, process=None, seconds=300):
    end = time.monotonic() + seconds
    while not is_there():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"a process ended ({process.returncode}) while waiting for {what}")
        if time.monotonic() > end:
            raise RuntimeError(f"gave up waiting for {what}")
        time.sleep(0.1)


class Pipeline:
    """The program with the configuration of one of the two pipelines."""

    def __init__(self, build, place, source, pipeline):
        self.program = pathlib.Path(build) / "walbrook"
        self.query = pathlib.Path(build) / "lake_query"
        self.place = pathlib.Path(place)
        self.config = self.place / f"walbrook-{pipeline}.yaml"
        connection = f"{{host: 127.0.0.1, port: {source.port}, name: postgres, username: postgres}}"
        store, destination = "", 'ducklake: {catalog: "lake/catalog.sqlite", data_path: "lake/data"}'
        if pipeline == STORE_PIPELINE:
            connection_of_store = connection.replace(" name: postgres", " name: store")
            store = f"  store: {{type: postgres}}\n  store_pg_connection: {connection_of_store}\n"
            destination = "blackhole: {}"
        self.config.write_text(
            f"pipeline:\n  id: {pipeline}\n  publication_name: shop\n  pg_connection: {connection}\n"
            f"  work_dir: work-{pipeline}\n  table_error_retry_delay_ms: 100\n{store}destination:\n  {destination}\n"
            f"server: {{listen: off}}\nlog: {{format: json}}\n", encoding="utf-8")

    def run(self, *args, expect=(0,)):
        done = subprocess.run([self.program, *args, "--config", self.config], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode not in expect:
            raise RuntimeError(f"walbrook {' '.join(args)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def catch_up(self, expect=(0,)):
        return self.run("run", "--until-caught-up", expect=expect)

    def lake(self, sql):
        done = subprocess.run([self.query, self.place / "lake/catalog.sqlite", sql, "--format", "csv"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"lake_query {sql}: {done.stdout}")
        return done.stdout.splitlines()[1:]


def move(place, old, new):
    """DuckLake keeps the place of its data as an absolute path."""
    with contextlib.closing(sqlite3.connect(pathlib.Path(place) / "lake/catalog.sqlite")) as catalog:
        catalog.execute("update ducklake_metadata set value = replace(value, ?, ?) where key = 'data_path'",
                        (str(old), str(new)))
        for table in ("ducklake_data_file", "ducklake_delete_file", "ducklake_files_scheduled_for_deletion"):
            catalog.execute(f"update {table} set path = replace(path, ?, ?) where not path_is_relative",
                            (str(old), str(new)))
        catalog.commit()
        catalog.execute("pragma wal_checkpoint(truncate)")


def releases():
    return sorted(path for path in FIXTURES.glob("release-*") if path.is_dir())


def unpack(release, place):
    with tarfile.open(release / "files.tar.xz") as archive:
        archive.extractall(place, filter="data")
    move(place, PLACE, place)


def facts_of(release):
    return json.loads((release / "facts.json").read_text(encoding="utf-8"))


def parts_before():
    """The parts of before.sql: number, text, and the mark behind it."""
    pieces = re.split(r"^-- walbrook: (\w+)$", (HERE / "before.sql").read_text(encoding="utf-8"), flags=re.M)
    return [(i // 2, pieces[i], pieces[i + 1] if i + 1 < len(pieces) else "last") for i in range(0, len(pieces), 2)]


def text_after():
    return (HERE / "after.sql").read_text(encoding="utf-8")
