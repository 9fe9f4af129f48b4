"""MLflow's bucket: the client that reaches it, its creation with a key of its own, and the proof that it is private."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .settings import ObjectStore, Refusal

if TYPE_CHECKING:
    from minio import MinioAdmin

REGION = "us-east-1"
START_LIMIT = 60.0
"""Seconds for the object store to answer."""
_PROOF = ".mlops-server-proof-"


def client(store: ObjectStore) -> Any:
    """Give an S3 client that works with any store that speaks S3."""
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name=REGION,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # The newer checksums travel in a trailer that not every store, and no buffering proxy, understands.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 4, "mode": "standard"},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=20,
            proxies={},
        ),
    )


def seed(root: ObjectStore, store: ObjectStore, *, make_key: bool) -> None:
    """Make the bucket, and the key that reaches it and nothing else; then prove both. May run at every start.

    Parameters
    ----------
    root
        The bucket as the store's administrator sees it.
    store
        The bucket with the key that MLflow uses.
    make_key
        Whether to make that key through MinIO's admin API. A store that manages its keys itself has it already.

    Raises
    ------
    Refusal
        If the store does not answer, lets us not in, or the bucket turns out not to be private.
    """
    _create_bucket(root)
    if make_key:
        _create_key(root, store)
    prove(store)


def prove(store: ObjectStore) -> None:
    """Refuse unless the key can use its bucket, nobody gets in without one, and the key reaches no other bucket."""
    s3 = client(store)
    key = _PROOF + secrets.token_hex(8)
    try:
        s3.put_object(Bucket=store.bucket, Key=key, Body=b"proof")
        if s3.get_object(Bucket=store.bucket, Key=key)["Body"].read() != b"proof":
            raise Refusal(f"The bucket {store.bucket} does not give back what was written into it.")
        listed = s3.list_objects_v2(Bucket=store.bucket, Prefix=key).get("KeyCount")
        _refused_without_key(store, f"/{store.bucket}/{key}", "read")
        _refused_without_key(store, f"/{store.bucket}/?list-type=2", "listed")
        s3.delete_object(Bucket=store.bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        raise Refusal(
            f"The key in MINIO_ACCESS_KEY cannot write, read and delete in the bucket {store.bucket}: {reason(error)}. "
            "With MINIO_KEYS=existing, give it those rights in the store; otherwise look at ./mlops-server logs seed."
        ) from error
    if not listed:
        raise Refusal(f"The key in MINIO_ACCESS_KEY cannot list the bucket {store.bucket}: a backup would be empty.")
    # Not every store lets a scoped key ask; one that shows its own bucket alone is as good.
    try:
        others = [one["Name"] for one in s3.list_buckets().get("Buckets", []) if one["Name"] != store.bucket]
    except (ClientError, BotoCoreError):
        return
    for other in others:
        try:
            s3.list_objects_v2(Bucket=other, MaxKeys=1)
        except (ClientError, BotoCoreError):
            continue
        raise Refusal(
            f"The key in MINIO_ACCESS_KEY can read the bucket {other} too. It must reach {store.bucket} only: "
            "narrow its policy in the store, or take a new key."
        )


def reason(error: ClientError | BotoCoreError) -> str:
    """Say in a few words why the store did not do something."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "error"))
    return type(error).__name__


def policy(bucket: str) -> dict[str, Any]:
    """Everything that MLflow and the backup do in one bucket, and nothing in another."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                ],
                "Resource": [f"arn:aws:s3:::{bucket}/*"],
            },
        ],
    }


def _create_bucket(root: ObjectStore) -> None:
    s3 = client(root)
    end = time.monotonic() + START_LIMIT
    while True:
        try:
            s3.create_bucket(Bucket=root.bucket)
            return
        except ClientError as error:
            code = reason(error)
            if code == "BucketAlreadyOwnedByYou":
                return
            if code == "BucketAlreadyExists":
                raise Refusal(
                    f"The bucket {root.bucket} belongs to somebody else in that store: take another MINIO_BUCKET."
                ) from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500 or time.monotonic() > end:
                raise Refusal(
                    f"The object store at {root.url} does not let MINIO_ROOT_USER make {root.bucket}: {code}. "
                    "MINIO_ROOT_USER and MINIO_ROOT_PASSWORD must be the store's own."
                ) from error
        except BotoCoreError as error:
            if time.monotonic() > end:
                raise Refusal(
                    f"The object store at {root.url} does not answer. Look at it with ./mlops-server logs objects."
                ) from error
        time.sleep(0.5)


def _create_key(root: ObjectStore, store: ObjectStore) -> None:
    from minio.error import MinioAdminException

    admin = _admin(root)
    name = f"mlops-server-{store.bucket}"
    try:
        admin.policy_add(name, policy=policy(store.bucket))
        # Also gives an existing key the secret that .env holds now.
        admin.user_add(store.access_key, store.secret_key)
        try:
            admin.attach_policy([name], user=store.access_key)
        except MinioAdminException as error:
            if "PolicyChangeAlreadyApplied" not in str(error):
                raise
    except MinioAdminException as error:
        raise Refusal(
            f"The object store at {root.url} did not make the key in MINIO_ACCESS_KEY: {_code(error)}. "
            "A store other than MinIO manages its keys itself: make it there, and write MINIO_KEYS=existing into .env."
        ) from error
    except urllib3.exceptions.HTTPError as error:
        raise Refusal(
            f"The object store at {root.url} does not answer. Look at it with ./mlops-server logs objects."
        ) from error


def _admin(root: ObjectStore) -> MinioAdmin:
    from minio import MinioAdmin
    from minio.credentials.providers import StaticProvider

    return MinioAdmin(
        endpoint=root.address,
        credentials=StaticProvider(root.access_key, root.secret_key),
        secure=root.url.startswith("https://"),
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(3)),
    )


def _code(error: Exception) -> str:
    # The body of a refusal is JSON, XML or a page, and may repeat what was sent: only its code is shown.
    status, body = getattr(error, "_code", "error"), getattr(error, "_body", "")
    try:
        return f"{status} {json.loads(body)['Code']}"
    except (ValueError, KeyError, TypeError):
        return str(status)


def _refused_without_key(store: ObjectStore, path: str, done: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(store.url + path, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return
        raise Refusal(f"The object store answers {error.code} where it should ask for a key: {store.url}.") from error
    except OSError as error:
        raise Refusal(f"The object store at {store.url} does not answer.") from error
    raise Refusal(
        f"The bucket {store.bucket} can be {done} without a key: patients' data would lie open. "
        "Remove its public access in the store (mc anonymous set none), then start again."
    )
