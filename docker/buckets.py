"""Make the buckets that are named on the command line, where they are missing: what compose runs once."""

import sys

import boto3
from botocore.exceptions import ClientError


def main(names: list[str]) -> None:
    """Make each bucket; endpoint and credentials come from the environment."""
    storage = boto3.client("s3")
    for name in names:
        try:
            storage.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        storage.head_bucket(Bucket=name)
        print(f"{name} is there")


if __name__ == "__main__":
    main(sys.argv[1:])
