"""Copying a catalog from one engine to another."""

from app.catalog.engine import Snapshot, Transaction


def copy_catalog(source: Snapshot, target: Transaction) -> None:
    """Replace everything that a catalog contains by the contents of another, which may have another engine.

    Images and tombstones keep their order and their marks, tokens the hashes of their secrets. Records are not held in
    memory. The status of the mirror's syncs is no part of a snapshot.
    """
    target.delete_images()
    for token in target.tokens():
        target.delete_token(token.id)
    target.insert_records(source.records())
    for token, secret_hash in source.tokens_with_hashes():
        target.add_token(token, secret_hash)
    target.set_upstream(source.upstream())
