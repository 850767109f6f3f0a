"""A description of the tables, which the migrations create; and the SQL conditions that several queries share.

`images` holds each image once; `sequence` is the order in which images were added to the catalog. A deleted image
becomes a tombstone with the status DELETED; `deleted_at` is set if the service created the tombstone, and NULL if it
was imported. `synced_at` (seconds since 1970) and `revision` state when a replica last applied an upstream change of
the image.

In a replica, an image with the status DELETED and without `deleted_at` is being deleted upstream, and can still be
shown by its id.

`image_index` holds an image once for each audience that lists it: everyone, its owner, or a member that accepted it. It
holds no hidden images, but their tombstones. It is derived from the view `image_index_entries`: a transaction that
writes images also updates their index entries.

- Images and tombstones of an audience are separate (`deleted`), so that neither slows down a scan of the other.
- The primary key has the order of the API: newest first, ties by `sequence`. `sort_key` is the negated sequence,
  because a page can be found by key only if both columns run in the same direction. Every other index, except
  `image_index_by_change`, continues in this order, so that a filter needs no sorting.
- Audiences, pairs of status and type, and times are integers, which keeps entries small: the time of an import into
  a large catalog depends on the number of pages that it touches.
- If each of several filters has many matches, a page is read along the index of the first: server, name, `min_ram`,
  `min_disk`, status and type. This index also holds `changed` and the columns of the filters that follow, so no entry
  is looked up in the table. A filter for a `min_ram` or `min_disk` of 0 has no index. For such filters, the indexes
  that follow hold these columns too.
- `changed` is the later of `updated` and `synced_at` plus ten seconds. Readers see a sync only after its transaction,
  for which ten seconds suffice up to some 300 000 images; so a client that polls with changes-since misses no image.

`image_members` holds the members of shared images, whether or not they have accepted the image.

`migrated_by` holds, in one row, the version of compute-images that last migrated the catalog.
"""

TOMBSTONE = "(status = 'DELETED' AND (deleted_at IS NOT NULL OR revision IS NULL))"

# The images that a project may see if it knows the id. Members are looked up in a table of their own: the time to
# search the list of members in the image would grow with their number, and thereby disclose that the image exists.
VISIBLE = """(
    visibility IN ('public', 'community')
    OR owner = :project_id
    OR visibility = 'shared' AND EXISTS (
        SELECT 1 FROM image_members
        WHERE image_members.sequence = images.sequence AND image_members.project_id = :project_id
    )
)"""
