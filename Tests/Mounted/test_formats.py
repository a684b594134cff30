"""Data formats through Python's own libraries: written, read back, and read in slices."""

import csv
import json
import mmap
import sqlite3
import time
import zipfile

import pytest
from harness.content import pattern
from harness.processes import Forked, wait_for

# Here and not in the bodies: a test's user may be unable to read the interpreter's own library.
numpy = pytest.importorskip("numpy")
hdf5 = pytest.importorskip("h5py")
netcdf = pytest.importorskip("netCDF4")
pandas = pytest.importorskip("pandas")

pytestmark = pytest.mark.first_user


def test_csv(mnt):
    rows = [[str(number), f"value, with \"quotes\" {number}", ""] for number in range(5000)]
    with open(mnt / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    with open(mnt / "table.csv", newline="") as file:
        assert list(csv.reader(file)) == rows
    with open(mnt / "table.csv", "a", newline="") as file:
        csv.writer(file).writerow(["last"])
    with open(mnt / "table.csv", newline="") as file:
        assert list(csv.reader(file)) == rows + [["last"]]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_pandas_appends(mnt, mount, compression):
    """to_csv in mode "a", also a compressed file's next member; read back whole and in pieces, also after a remount."""
    frames = [pandas.DataFrame({"time": pandas.date_range("2020-01-01", periods=500, freq="h") + pandas.Timedelta(
        days=21 * number), "value": numpy.arange(500) * 0.5 + number, "name": [f"größe {number}, \"x\""] * 500})
        for number in range(5)]
    path = mnt / f"table.csv{'.gz' if compression else ''}"

    def check(count):
        expected = pandas.concat(frames[:count], ignore_index=True)
        found = pandas.read_csv(path, parse_dates=["time"])
        pandas.testing.assert_frame_equal(found, expected, check_dtype=False)
        pieces = pandas.read_csv(path, parse_dates=["time"], chunksize=333)
        assert sum(len(piece) for piece in pieces) == len(expected)

    for number, frame in enumerate(frames):
        frame.to_csv(path, mode="a", header=number == 0, index=False, compression=compression)
        if number == 2:
            mount.remount()
        check(number + 1)
    frames[0].to_pickle(mnt / "frame.pickle")
    pandas.testing.assert_frame_equal(pandas.read_pickle(mnt / "frame.pickle"), frames[0])


def test_json(mnt):
    value = {"list": list(range(1000)), "text": "Zażółć gęślą jaźń", "nested": {"null": None}}
    with open(mnt / "value.json", "w") as file:
        json.dump(value, file)
    with open(mnt / "value.json") as file:
        assert json.load(file) == value


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_64BIT_OFFSET"])
def test_netcdf4(mnt, mount, form):
    data = numpy.arange(50 * 60 * 70, dtype="f4").reshape(50, 60, 70)
    with netcdf.Dataset(mnt / "grid.nc", "w", format=form) as dataset:
        for name, size in zip(("time", "lat", "lon"), data.shape, strict=True):
            dataset.createDimension(name, None if name == "time" else size)
        compression = {"zlib": True, "chunksizes": (5, 20, 35)} if form == "NETCDF4" else {}
        dataset.createVariable("t2m", "f4", ("time", "lat", "lon"), **compression)[:] = data
        dataset.title = "a grid"
    mount.remount()
    with netcdf.Dataset(mnt / "grid.nc") as dataset:
        assert dataset.title == "a grid"
        assert numpy.array_equal(dataset["t2m"][7:11, 10:20:3, ::9], data[7:11, 10:20:3, ::9])
        assert numpy.array_equal(dataset["t2m"][:], data)
    with netcdf.Dataset(mnt / "grid.nc", "a") as dataset:
        dataset["t2m"][50] = data[0] * 2
        dataset["t2m"][3, 4, 5] = -1
    with netcdf.Dataset(mnt / "grid.nc") as dataset:
        assert dataset["t2m"].shape == (51, 60, 70)
        assert dataset["t2m"][3, 4, 5] == -1 and numpy.array_equal(dataset["t2m"][50], data[0] * 2)


def test_hdf5(mnt, mount):
    data = numpy.arange(1_000_000, dtype="i8")
    with hdf5.File(mnt / "data.h5", "w") as file:
        file.create_dataset("group/values", data=data, chunks=(10_000,), compression="gzip")
        file["group"].attrs["unit"] = "K"
    with hdf5.File(mnt / "data.h5", "r+") as file:
        file["group/values"][500_000:500_010] = 0
    mount.remount()
    with hdf5.File(mnt / "data.h5") as file:
        assert file["group"].attrs["unit"] == "K"
        assert list(file["group/values"][499_999:500_011]) == [499_999, *[0] * 10, 500_010]
        assert numpy.array_equal(file["group/values"][::1234][:400], data[::1234][:400])


def test_hdf5_locks_a_second_writer_out(mnt):
    def hold():
        # HDF5 shares a file that its own process has open, so only the other process may open it first.
        with hdf5.File(mnt / "data.h5", "w", locking=True) as file:
            file["x"] = 1
            (mnt / "held").touch()
            time.sleep(600)

    holder = Forked(hold)
    try:
        wait_for((mnt / "held").exists, 20, "the file is held")
        with pytest.raises(BlockingIOError):
            hdf5.File(mnt / "data.h5", "r+", locking=True)
    finally:
        holder.kill()


def test_numpy_memmap(mnt):
    array = numpy.memmap(mnt / "array", dtype="i4", mode="w+", shape=(1000, 1000))
    array[:] = numpy.arange(1_000_000, dtype="i4").reshape(1000, 1000)
    array.flush()
    del array
    again = numpy.memmap(mnt / "array", dtype="i4", mode="r", shape=(1000, 1000))
    assert again[123, 456] == 123_456 and int(again.sum(dtype="i8")) == 499_999_500_000
    numpy.save(mnt / "saved.npy", again[10:20])
    assert numpy.array_equal(numpy.load(mnt / "saved.npy", mmap_mode="r"), again[10:20])


def test_zipfile(mnt):
    with zipfile.ZipFile(mnt / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(20):
            archive.writestr(f"dir/{index}", pattern(index * 1000, index))
    with zipfile.ZipFile(mnt / "archive.zip", "a") as archive:
        archive.writestr("appended", "text")
    with zipfile.ZipFile(mnt / "archive.zip") as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 21
        assert archive.read("dir/19") == pattern(19_000, 19)


def test_sqlite_in_python(mnt):
    with sqlite3.connect(mnt / "data.db") as connection:
        connection.execute("create table t (k integer primary key, v blob)")
        connection.executemany("insert into t values (?, ?)", ((i, pattern(i, i)) for i in range(500)))
    connection.close()
    connection = sqlite3.connect(mnt / "data.db")
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert connection.execute("select v from t where k = 321").fetchone()[0] == pattern(321, 321)
    connection.close()


def test_mmap_read(mnt, mount):
    data = pattern(3_000_017)
    (mnt / "file").write_bytes(data)
    mount.remount()
    with open(mnt / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        assert memory[1_500_000:1_500_100] == data[1_500_000:1_500_100]
        assert memory.find(data[2_999_900:2_999_950]) == 2_999_900
        assert memory[:] == data


def test_shared_mmap_write(mnt, bucket):
    data = bytearray(pattern(1_000_000))
    (mnt / "file").write_bytes(data)
    with open(mnt / "file", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[400_000:400_005] = data[400_000:400_005] = b"map 1"
        memory.flush()  # msync(MS_SYNC)
        assert (mnt / "file").read_bytes() == data
        assert bucket.get("file") == data
        memory[999_995:] = data[999_995:] = b"map 2"
    assert (mnt / "file").read_bytes() == data
