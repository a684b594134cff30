"""The S3 servers that the tests are given, and the bucket beside a mount as an S3 client sees it."""

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = "us-east-1"


@dataclass(frozen=True)
class Server:
    """An S3 endpoint and the keys that may do everything there."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str

    def client(self):
        """A client of this process: connections do not survive a fork."""
        return _client(self, os.getpid())

    def new_bucket(self):
        name = f"pail-{uuid.uuid4().hex[:16]}"
        self.client().create_bucket(Bucket=name)
        return name

    def drop_bucket(self, name):
        try:
            Bucket(self, name, "").clear()
            self.client().delete_bucket(Bucket=name)
        except ClientError:
            pass  # the bucket is a throwaway, and so is the server


def parse(specification):
    """Servers of `name=URL,ACCESS,SECRET;...`."""
    servers = []
    for each in filter(None, (part.strip() for part in specification.split(";"))):
        name, _, rest = each.partition("=")
        endpoint, access_key, secret_key = rest.split(",")
        servers.append(Server(name, endpoint.rstrip("/"), access_key, secret_key))
    return servers


class Bucket:
    """The objects under a prefix. Keys are relative to the prefix."""

    def __init__(self, server, name, prefix):
        self.server, self.name, self.prefix = server, name, prefix

    @property
    def client(self):
        return self.server.client()

    @property
    def source(self):
        """What `pail mount` takes to mount it."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def keys(self):
        """Every key, markers included, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        return sorted(each["Key"][len(self.prefix):] for page in pages for each in page.get("Contents", []))

    def files(self):
        """Every key that is not a directory marker."""
        return [key for key in self.keys() if key and not key.endswith("/")]

    def get(self, key, **options):
        return self.client.get_object(Bucket=self.name, Key=self.prefix + key, **options)["Body"].read()

    def sha256(self, key):
        digest = hashlib.sha256()
        body = self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"]
        for block in body.iter_chunks(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def head(self, key):
        return self.client.head_object(Bucket=self.name, Key=self.prefix + key)

    def exists(self, key):
        try:
            self.head(key)
            return True
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404, error
            return False

    def put(self, key, body=b"", **options):
        return self.client.put_object(Bucket=self.name, Key=self.prefix + key, Body=body, **options)

    @property
    def keeps_marker_metadata(self):
        """Whether the server keeps the metadata of directory markers: SeaweedFS drops it."""
        return _keeps_marker_metadata(self.server, self.name, self.prefix, os.getpid())

    def put_many(self, bodies):
        """Puts every object of a mapping, several at once."""
        client = self.client
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(client.put_object, Bucket=self.name, Key=self.prefix + key, Body=body)
                         for key, body in bodies.items()]:
                done.result()

    def delete(self, key):
        self.client.delete_object(Bucket=self.name, Key=self.prefix + key)

    def open_uploads(self):
        """The multipart uploads that were begun and not completed."""
        return self.client.list_multipart_uploads(Bucket=self.name, Prefix=self.prefix).get("Uploads", [])

    def parts(self, upload):
        """What was sent of a multipart upload that is one of `open_uploads`."""
        try:
            return self.client.list_parts(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404, error
            return []

    def clear(self):
        keys = [self.prefix + key for key in self.keys()]
        # XML cannot carry control characters: such keys cannot be deleted in a batch.
        for key in (key for key in keys if not key.isprintable()):
            self.client.delete_object(Bucket=self.name, Key=key)
        batched = [key for key in keys if key.isprintable()]
        for begin in range(0, len(batched), 500):
            batch = [{"Key": key} for key in batched[begin:begin + 500]]
            self.client.delete_objects(Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
        for upload in self.open_uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])


class LocalBucket:
    """A directory that stands for a bucket, to try the suite itself against the local filesystem."""

    source = "local"
    keeps_marker_metadata = True

    def __init__(self, directory):
        self.directory = Path(directory)

    def keys(self):
        return self.files()

    def files(self):
        paths = (path for path in self.directory.rglob("*") if not path.is_symlink() and path.is_file())
        return sorted(path.relative_to(self.directory).as_posix() for path in paths)

    def get(self, key):
        return (self.directory / key).read_bytes()

    def sha256(self, key):
        return hashlib.sha256(self.get(key)).hexdigest()

    def exists(self, key):
        return os.path.lexists(self.directory / key)

    def put(self, key, body=b"", **_):
        path = self.directory / key
        if key.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def put_many(self, bodies):
        for key, body in bodies.items():
            self.put(key, body)

    def delete(self, key):
        (self.directory / key).unlink()

    def clear(self):
        pass


@cache
def _client(server, _process):
    settings = Config(s3={"addressing_style": "path"}, signature_version="s3v4", connect_timeout=5, read_timeout=60,
                      retries={"max_attempts": 4}, max_pool_connections=16)
    return boto3.session.Session().client(
        "s3", endpoint_url=server.endpoint, region_name=REGION, aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key, config=settings)


@cache
def _keeps_marker_metadata(server, bucket, prefix, _process):
    client, key = server.client(), prefix.rstrip("/") + ".probe/"
    client.put_object(Bucket=bucket, Key=key, Metadata={"mode": "1"})
    kept = client.head_object(Bucket=bucket, Key=key)["Metadata"] == {"mode": "1"}
    client.delete_object(Bucket=bucket, Key=key)
    return kept
