"""A bucket of any number of keys that exist only while they are listed: for what listing costs in memory.

By hand, from Tests/Mounted: `python -m harness.many_keys DIRECTORIES FILES` prints its URL and serves until it is ended.
"""

import sys
import urllib.parse

from .fakes import canned_s3, error_body

PAGE = 1000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_OBJECT = ('<Contents><Key>{}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>'
           "<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><Size>10</Size>"
           "<StorageClass>STANDARD</StorageClass></Contents>")


class ManyKeys:
    """`d00000/f0000`, and so on: an answer for `canned_s3`."""

    def __init__(self, directory_count, file_count):
        self.directory_count, self.file_count = directory_count, file_count
        self.listing_count = self.head_count = 0

    def __call__(self, method, path, headers):
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if method == "GET" and "list-type" in query:
            self.listing_count += 1
            return 200, {"Content-Type": "application/xml"}, self._list(query).encode()
        if method == "HEAD":
            return self._head(url.path.partition("/")[2].partition("/")[2])
        return 404, {}, error_body("NoSuchKey", "there is nothing but names here")

    def _head(self, key):
        self.head_count += 1
        if key == "":
            return 200, {}, b""
        directory, _, file = key.partition("/")
        if not file or key != f"d{self._directory(directory):05}/f{int(file[1:] or 0):04}":
            return 404, {}, b""
        return 200, {"ETag": '"0123456789abcdef0123456789abcdef"', "Content-Length": "10",
                     "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}, b""

    def _list(self, query):
        prefix, start = query.get("prefix", ""), query.get("continuation-token") or query.get("start-after", "")
        count_max = int(query.get("max-keys", PAGE))
        is_delimited = "delimiter" in query
        if prefix == "" and is_delimited:
            # Tokens and keys are of one form: what is listed begins behind them.
            names = [f"d{index:05}/" for index in range(self._directory(start) if start else 0, self.directory_count)]
            names = [name for name in names[:count_max + 2] if name > start]
            items = [f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in names[:count_max]]
        else:
            names = self._keys(prefix, start, count_max + 1)
            items = [_OBJECT.format(name) for name in names[:count_max]]
        more = len(names) > count_max
        token = f"<NextContinuationToken>{names[count_max - 1]}</NextContinuationToken>" if more else ""
        return (f"{_HEAD}<Name>bucket</Name><Prefix>{prefix}</Prefix><KeyCount>{len(items)}</KeyCount>"
                f"<MaxKeys>{count_max}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(items)}"
                "</ListBucketResult>")

    @staticmethod
    def _directory(key):
        digits = key[1:6]
        return int(digits) if len(digits) == 5 and digits.isdigit() else 0

    def _keys(self, prefix, start, count):
        if prefix and not prefix.startswith("d"):
            return []
        found = []
        first = max(self._directory(prefix), self._directory(start))
        for directory in range(first, self.directory_count):
            name = f"d{directory:05}/"
            if prefix and not name.startswith(prefix[:7]):
                break
            low = int(start[8:12]) if start[:7] == name and start[8:12].isdigit() else 0
            for index in range(low, self.file_count):
                key = f"{name}f{index:04}"
                if key > start and key.startswith(prefix):
                    found.append(key)
                    if len(found) == count:
                        return found
        return found


if __name__ == "__main__":
    with canned_s3(ManyKeys(int(sys.argv[1]), int(sys.argv[2]))) as address:
        print(address, flush=True)
        sys.stdin.read()
