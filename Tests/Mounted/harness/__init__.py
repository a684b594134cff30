"""What the mounted tests stand on: servers, users, mounts, and processes that cannot be left behind."""
