"""Blobs in an S3-compatible object store; needs the extra `s3`."""

from tetrad.adapters.blobs_s3._store import S3Blobs, open_s3

__all__ = ["S3Blobs", "open_s3"]
