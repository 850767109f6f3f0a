-- Created by commit 0d73d89, from 8-replica.sql.
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'compute-images','1: images','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'compute-images','2: listings','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'compute-images','3: tombstones made here','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'compute-images','4: tokens','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'compute-images','5: upstream','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'compute-images','6: standard names','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'compute-images','7: unlisted images','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'compute-images','8: migrated by','2026-11-25 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'compute-images','9: covering indexes','2026-11-25 12:00:00+00:00');
CREATE TABLE audiences (id INTEGER PRIMARY KEY, project_id TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO "audiences" VALUES(0,'/');
INSERT INTO "audiences" VALUES(1,'22222222222222222222222222222222');
INSERT INTO "audiences" VALUES(2,'33333333333333333333333333333333');
INSERT INTO "audiences" VALUES(3,'44444444444444444444444444444444');
INSERT INTO "audiences" VALUES(4,'11111111111111111111111111111111');
CREATE TABLE image_index (
        audience INTEGER NOT NULL,
        deleted INTEGER NOT NULL,  -- 1: tombstones
        created INTEGER NOT NULL,  -- times are in seconds since 1970
        sort_key INTEGER NOT NULL,  -- the negated sequence
        changed INTEGER NOT NULL,
        status_type INTEGER NOT NULL,
        min_disk INTEGER NOT NULL,
        min_ram INTEGER NOT NULL,
        name TEXT,
        server TEXT,
        PRIMARY KEY (audience, deleted, created, sort_key)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "image_index" VALUES(0,0,1577836800,-10,1795600810,5,0,0,'image 12',NULL);
INSERT INTO "image_index" VALUES(0,0,1577836800,-9,1795605009,1,0,0,'after',NULL);
INSERT INTO "image_index" VALUES(0,0,1577836800,-1,1795600810,1,0,0,'image 1',NULL);
INSERT INTO "image_index" VALUES(0,0,1622542830,-14,1795608009,7,0,0,'image 15',NULL);
INSERT INTO "image_index" VALUES(0,0,1622542830,-2,1795600810,1,10,512,'it''s “quoted” \ and
long; -- no comment',NULL);
INSERT INTO "image_index" VALUES(1,0,1577836799,-8,1795600810,1,0,0,'image 8',NULL);
INSERT INTO "image_index" VALUES(1,0,1577836800,-6,1795600810,1,0,0,'image 6',NULL);
INSERT INTO "image_index" VALUES(1,0,1577836800,-5,1795600810,4,0,0,'image 5','9168b536-cd40-4630-b43f-b259807c6e87');
INSERT INTO "image_index" VALUES(1,0,1577836800,-4,1795608009,3,0,0,'image 4','9168b536-cd40-4630-b43f-b259807c6e87');
INSERT INTO "image_index" VALUES(2,0,1577836800,-11,1795600810,1,0,2048,'image 13',NULL);
INSERT INTO "image_index" VALUES(2,0,1577836800,-5,1795600810,4,0,0,'image 5','9168b536-cd40-4630-b43f-b259807c6e87');
INSERT INTO "image_index" VALUES(2,1,1577836800,-13,1795606010,6,0,0,'image 10',NULL);
INSERT INTO "image_index" VALUES(3,1,1577836800,-12,1795608009,6,0,0,'image 14',NULL);
INSERT INTO "image_index" VALUES(4,0,1577836800,-11,1795600810,1,0,2048,'image 13',NULL);
INSERT INTO "image_index" VALUES(4,0,1577836800,-7,1795600810,1,0,0,'image 7',NULL);
INSERT INTO "image_index" VALUES(4,0,1577836800,-5,1795600810,4,0,0,'image 5','9168b536-cd40-4630-b43f-b259807c6e87');
INSERT INTO "image_index" VALUES(4,0,1577836800,-3,1795600810,2,0,0,NULL,'9168b536-cd40-4630-b43f-b259807c6e87');
CREATE TABLE image_members (
        sequence INTEGER NOT NULL,
        project_id TEXT NOT NULL,
        PRIMARY KEY (sequence, project_id)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "image_members" VALUES(5,'22222222222222222222222222222222');
INSERT INTO "image_members" VALUES(5,'33333333333333333333333333333333');
INSERT INTO "image_members" VALUES(7,'11111111111111111111111111111111');
INSERT INTO "image_members" VALUES(11,'11111111111111111111111111111111');
INSERT INTO "image_members" VALUES(11,'33333333333333333333333333333333');
CREATE TABLE images (
    sequence INTEGER PRIMARY KEY,  -- the order in which images came into the catalog
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    status TEXT NOT NULL,  -- of a tombstone: DELETED
    progress INTEGER NOT NULL,
    created TEXT NOT NULL,  -- times are UTC to the second, such as 2011-01-01T01:02:03Z
    updated TEXT NOT NULL,
    min_disk INTEGER NOT NULL,
    min_ram INTEGER NOT NULL,
    size INTEGER,
    metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    owner TEXT,  -- tenants are in lower case, without dashes
    visibility TEXT NOT NULL,
    members TEXT NOT NULL CHECK (json_type(members) = 'array'),  -- the tenants that accepted a shared image
    server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED  -- every page shows it
, type TEXT GENERATED ALWAYS AS (
        CASE
            WHEN metadata ->> '$.image_type' IN ('snapshot', 'backup') THEN metadata ->> '$.image_type'
            WHEN server IS NOT NULL THEN 'SERVER'
            ELSE 'BASE'
        END
    ), projects TEXT GENERATED ALWAYS AS (
        CASE visibility
            WHEN 'public' THEN json_array('*')
            WHEN 'shared' THEN json_insert(members, '$[#]', owner)
            ELSE json_array(owner)
        END
    ), deleted_at TEXT, synced_at INTEGER, revision INTEGER, hidden INTEGER NOT NULL DEFAULT 0, pending_members TEXT NOT NULL DEFAULT '[]'
    CHECK (json_type(pending_members) = 'array')) STRICT
;
INSERT INTO "images" VALUES(1,'00000000-0000-4000-8000-000000000001','image 1','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,74185822,'{"os_distro":"debian"}',NULL,'public','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(2,'00000000-0000-4000-8000-000000000002','it''s “quoted” \ and
long; -- no comment','ACTIVE',100,'2021-06-01T10:20:30Z','2022-01-01T00:00:00Z',10,512,NULL,'{}','11111111111111111111111111111111','public','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(3,'00000000-0000-4000-8000-000000000003',NULL,'ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"image_type":"snapshot","instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87"}','11111111111111111111111111111111','private','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(4,'00000000-0000-4000-8000-000000000004','image 4','ACTIVE',100,'2020-01-01T00:00:00Z','2026-11-25T11:59:59Z',0,0,NULL,'{"image_type":"backup","instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87","key":"","null":null,"sync_status_reason":"ERROR:A timeout occurred during synchronize image the server(https://image.cloud.test <https://image.cloud.test/> ) in the image operation. image_id=00000000-0000-4000-8000-000000000004"}','22222222222222222222222222222222','private','[]',NULL,1795607999,5,0,'[]');
INSERT INTO "images" VALUES(5,'00000000-0000-4000-8000-000000000005','image 5','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87"}','11111111111111111111111111111111','shared','["22222222222222222222222222222222","33333333333333333333333333333333"]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(6,'00000000-0000-4000-8000-000000000006','image 6','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{}','22222222222222222222222222222222','shared','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(7,'00000000-0000-4000-8000-000000000007','image 7','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{}',NULL,'shared','["11111111111111111111111111111111"]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(8,'00000000-0000-4000-8000-000000000008','image 8','ACTIVE',100,'2019-12-31T23:59:59Z','2020-01-01T00:00:00Z',0,0,NULL,'{}','22222222222222222222222222222222','community','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(9,'00000000-0000-4000-8000-000000000011','after','ACTIVE',100,'2020-01-01T00:00:00Z','2026-11-25T11:10:00Z',0,0,NULL,'{}','11111111111111111111111111111111','public','[]',NULL,1795604999,3,0,'[]');
INSERT INTO "images" VALUES(10,'00000000-0000-4000-8000-000000000012','image 12','ERROR',0,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"sync_status_reason":"ERROR:A timeout occurred"}',NULL,'public','[]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(11,'00000000-0000-4000-8000-000000000013','image 13','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,2048,NULL,'{}','11111111111111111111111111111111','shared','["11111111111111111111111111111111","33333333333333333333333333333333"]',NULL,1795600800,1,0,'[]');
INSERT INTO "images" VALUES(12,'00000000-0000-4000-8000-000000000014','image 14','DELETED',0,'2020-01-01T00:00:00Z','2026-11-25T11:59:59Z',0,0,NULL,'{}','44444444444444444444444444444444','private','[]','2026-11-25T11:59:59Z',1795607999,5,0,'[]');
INSERT INTO "images" VALUES(13,'00000000-0000-4000-8000-000000000010','image 10','DELETED',0,'2020-01-01T00:00:00Z','2026-11-25T11:26:40Z',0,0,NULL,'{}','33333333333333333333333333333333','private','[]','2026-11-25T11:26:40Z',1795606000,4,0,'[]');
INSERT INTO "images" VALUES(14,'00000000-0000-4000-8000-000000000015','image 15','SAVING',50,'2021-06-01T10:20:30Z','2021-06-01T10:20:30Z',0,0,NULL,'{}',NULL,'public','[]',NULL,1795607999,5,0,'[]');
CREATE TABLE migrated_by (version TEXT NOT NULL) STRICT;
INSERT INTO "migrated_by" VALUES('0.1.0');
CREATE TABLE "status_types" (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        type TEXT NOT NULL,
        UNIQUE (status, type)
    ) STRICT
    ;
INSERT INTO "status_types" VALUES(1,'ACTIVE','BASE');
INSERT INTO "status_types" VALUES(2,'ACTIVE','snapshot');
INSERT INTO "status_types" VALUES(3,'ACTIVE','backup');
INSERT INTO "status_types" VALUES(4,'ACTIVE','SERVER');
INSERT INTO "status_types" VALUES(5,'ERROR','BASE');
INSERT INTO "status_types" VALUES(6,'DELETED','BASE');
INSERT INTO "status_types" VALUES(7,'SAVING','BASE');
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL,  -- SHA-256 of its secret
    project_id TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    created TEXT NOT NULL,
    expires TEXT  -- none: never
) STRICT, WITHOUT ROWID
;
INSERT INTO "tokens" VALUES('01010101',X'58BADD9B455145B487AD24C7F259CC437CC4FFD0784716845249321FB5961CFC','11111111111111111111111111111111',0,'2026-11-25T12:00:00Z','2027-01-01T00:00:00Z');
INSERT INTO "tokens" VALUES('02020202',X'749F1A97FF6CD00EA46CCB3A47BB123283FE56C8FA324BEA295D928F558161DF','22222222222222222222222222222222',1,'2026-11-25T12:00:00Z',NULL);
CREATE TABLE upstream (  -- one row in a replica, none in other catalogs
        url TEXT NOT NULL,
        is_admin INTEGER NOT NULL,  -- whether it has all images that an administrator sees
        synced_at REAL NOT NULL,  -- start of the last sync that changed something, in seconds since 1970
        revision INTEGER NOT NULL  -- counts the changes from upstream
    ) STRICT
    ;
INSERT INTO "upstream" VALUES('https://image.cloud.test',1,1795607999.625,5);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX tombstones ON images (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX image_index_by_change ON image_index (audience, deleted, changed);
CREATE VIEW image_index_entries AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -sequence AS sort_key, max(unixepoch(updated), coalesce(synced_at + 10, 0)) AS changed,
        status_types.id AS status_type, min_disk, min_ram, name, server
    FROM images
    CROSS JOIN status_types USING (status, type)
    CROSS JOIN json_each(projects) AS each
    CROSS JOIN audiences ON project_id = iif(visibility = 'public', '/', each.value)
    WHERE NOT hidden OR status = 'DELETED';
CREATE INDEX image_index_by_server ON image_index (
        audience, deleted, server, created, sort_key, name, status_type, min_ram, min_disk, changed
    ) WHERE server IS NOT NULL
    ;
CREATE INDEX image_index_by_name ON image_index (
        audience, deleted, name, created, sort_key, status_type, min_ram, min_disk, changed
    )
    ;
CREATE INDEX image_index_by_status_type ON image_index (
        audience, status_type, created, sort_key, min_ram, min_disk, changed
    )
    ;
CREATE INDEX image_index_by_min_ram ON image_index (
        audience, deleted, min_ram, created, sort_key, min_disk, changed
    ) WHERE min_ram <> 0
    ;
CREATE INDEX image_index_by_min_disk ON image_index (
        audience, deleted, min_disk, created, sort_key, min_ram, changed
    ) WHERE min_disk <> 0
    ;
COMMIT;
