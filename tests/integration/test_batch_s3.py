"""A whole run on an object store: read from it, write to it, killed and resumed."""

from pathlib import Path

import boto3
import pytest
from helpers.batch import (
    batch,
    check_whole,
    kill_all,
    start_batch,
    wait_until,
)
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep
from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.alone

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
N_CLIPS = 10


class Store:
    """A bucket on a local S3 server."""

    def __init__(self, address: str) -> None:
        self.options = f"?endpoint_override={address}&region=us-east-1&scheme=http"
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket="bucket")

    def uri(self, key: str) -> str:
        return f"s3://bucket/{key}{self.options}"

    def keys(self, prefix: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket="bucket", Prefix=prefix)
        keys = [item["Key"] for item in found.get("Contents", [])]
        # Arrow marks emptied folders by objects of no bytes.
        return [key for key in keys if not key.endswith("/")]

    def download(self, prefix: str, folder: Path) -> Path:
        for key in self.keys(prefix):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file("bucket", key, str(path))
        return folder / prefix


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = Store(f"{host}:{port}")
    folder = tmp_path_factory.mktemp("clips")
    for number in range(N_CLIPS):
        path = make_clip(
            folder / f"{number:02d}.mp4",
            picture=Picture(times=even_times(80 + number, 10), gop=30),
            sound=Sound(samples=sweep(8, 16000, channels=1), rate_hz=16000),
        )
        store.client.upload_file(str(path), "bucket", f"in/deep/{path.name}")
    store.client.put_object(Bucket="bucket", Key="in/text.mp4", Body=b"not a video")
    store.client.put_object(Bucket="bucket", Key="in/readme.md", Body=b"not listed")
    yield store
    server.stop()


@pytest.fixture
def uris(store):
    names = [f"deep/{number:02d}.mp4" for number in range(N_CLIPS)]
    return [store.uri(f"in/{name}") for name in (*names, "text.mp4")]


@pytest.mark.slow
def test_run_on_a_store_is_resumed_after_a_kill(store, uris, tmp_path):
    calm = batch(store.uri("in"), "--out", store.uri("calm"), **KEYS)
    assert calm.returncode == 3, calm.stderr
    assert f"{N_CLIPS} ok, 0 partial, 1 failed" in calm.stderr
    digest = check_whole(store.download("calm", tmp_path), uris)

    process = start_batch(store.uri("in"), "--out", store.uri("killed"), **KEYS)
    wait_until(lambda: len(store.keys("killed/ledger/")) >= 1, "the first commit")
    kill_all(process)
    resumed = batch(store.uri("in"), "--out", store.uri("killed"), **KEYS)
    assert resumed.returncode == 3, resumed.stderr
    assert "done before" in resumed.stderr
    assert check_whole(store.download("killed", tmp_path), uris) == digest


def test_missing_bucket_is_one_clear_sentence(store, tmp_path):
    missing = store.uri("x").replace("bucket", "nobucket")
    failed = batch(missing, "--out", tmp_path / "out", **KEYS)
    assert failed.returncode in (2, 3)
    assert "nobucket" in failed.stderr
    assert "Traceback" not in failed.stderr
