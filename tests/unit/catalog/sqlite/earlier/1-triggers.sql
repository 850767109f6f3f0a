-- Created by commit 5ac00df.
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'compute-images','1: images','2026-11-25 12:00:00+00:00');
CREATE TABLE images (
        position INTEGER PRIMARY KEY,  -- the order in which images came into the catalog
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
        rank INTEGER GENERATED ALWAYS AS (-position),
        audience TEXT GENERATED ALWAYS AS (CASE visibility WHEN 'public' THEN 'public' ELSE owner END),
        server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED,  -- every page shows it
        image_type TEXT GENERATED ALWAYS AS (metadata ->> '$.image_type'),
        origin TEXT GENERATED ALWAYS AS (
            CASE WHEN server IS NOT NULL OR image_type IN ('snapshot', 'backup') THEN 'SERVER' ELSE 'BASE' END
        )
    ) STRICT
    ;
INSERT INTO "images" VALUES(1,'00000000-0000-4000-8000-000000000001','image 1','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,74185822,'{"os_distro":"debian"}',NULL,'public','[]');
INSERT INTO "images" VALUES(2,'00000000-0000-4000-8000-000000000002','it''s “quoted” \ and
long; -- no comment','ACTIVE',100,'2021-06-01T10:20:30Z','2022-01-01T00:00:00Z',10,512,NULL,'{}','11111111111111111111111111111111','public','[]');
INSERT INTO "images" VALUES(3,'00000000-0000-4000-8000-000000000003',NULL,'ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"image_type":"snapshot","instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87"}','11111111111111111111111111111111','private','[]');
INSERT INTO "images" VALUES(4,'00000000-0000-4000-8000-000000000004','image 4','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"image_type":"backup","instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87","key":"","null":null}','22222222222222222222222222222222','private','[]');
INSERT INTO "images" VALUES(5,'00000000-0000-4000-8000-000000000005','image 5','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"instance_uuid":"9168b536-cd40-4630-b43f-b259807c6e87"}','11111111111111111111111111111111','shared','["22222222222222222222222222222222","33333333333333333333333333333333"]');
INSERT INTO "images" VALUES(6,'00000000-0000-4000-8000-000000000006','image 6','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{}','22222222222222222222222222222222','shared','[]');
INSERT INTO "images" VALUES(7,'00000000-0000-4000-8000-000000000007','image 7','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{}',NULL,'shared','["11111111111111111111111111111111"]');
INSERT INTO "images" VALUES(8,'00000000-0000-4000-8000-000000000008','image 8','ACTIVE',100,'2019-12-31T23:59:59Z','2020-01-01T00:00:00Z',0,0,NULL,'{}','22222222222222222222222222222222','community','[]');
INSERT INTO "images" VALUES(9,'00000000-0000-4000-8000-000000000009','image 9','DELETED',0,'2020-01-01T00:00:00Z','2023-03-03T03:03:03Z',0,0,NULL,'{}',NULL,'public','[]');
INSERT INTO "images" VALUES(10,'00000000-0000-4000-8000-000000000010','image 10','DELETED',0,'2020-01-01T00:00:00Z','2026-11-25T12:00:00Z',0,0,NULL,'{}','33333333333333333333333333333333','private','[]');
INSERT INTO "images" VALUES(11,'00000000-0000-4000-8000-000000000011','after','ACTIVE',100,'2020-01-01T00:00:00Z','2024-01-01T00:00:00Z',0,0,NULL,'{}','11111111111111111111111111111111','public','[]');
INSERT INTO "images" VALUES(12,'00000000-0000-4000-8000-000000000012','image 12','ERROR',0,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,0,NULL,'{"sync_status_reason":"ERROR:A timeout occurred"}',NULL,'public','[]');
INSERT INTO "images" VALUES(13,'00000000-0000-4000-8000-000000000013','image 13','ACTIVE',100,'2020-01-01T00:00:00Z','2020-01-01T00:00:00Z',0,2048,NULL,'{}','11111111111111111111111111111111','shared','["11111111111111111111111111111111","33333333333333333333333333333333"]');
INSERT INTO "images" VALUES(14,'00000000-0000-4000-8000-000000000014','image 14','DELETED',0,'2020-01-01T00:00:00Z','2026-11-25T12:00:00Z',0,0,NULL,'{}','44444444444444444444444444444444','private','[]');
INSERT INTO "images" VALUES(15,'00000000-0000-4000-8000-000000000015','image 15','SAVING',50,'2021-06-01T10:20:30Z','2021-06-01T10:20:30Z',0,0,NULL,'{}',NULL,'public','[]');
CREATE TABLE memberships (  -- shared images, once for each tenant that accepted one: what images has for its owner
        audience TEXT NOT NULL,
        position INTEGER NOT NULL,
        created TEXT NOT NULL,
        rank INTEGER NOT NULL,
        updated TEXT NOT NULL,
        name TEXT,
        status TEXT NOT NULL,
        server TEXT,
        image_type TEXT,
        origin TEXT NOT NULL,
        PRIMARY KEY (position, audience)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "memberships" VALUES('22222222222222222222222222222222',5,'2020-01-01T00:00:00Z',-5,'2020-01-01T00:00:00Z','image 5','ACTIVE','9168b536-cd40-4630-b43f-b259807c6e87',NULL,'SERVER');
INSERT INTO "memberships" VALUES('33333333333333333333333333333333',5,'2020-01-01T00:00:00Z',-5,'2020-01-01T00:00:00Z','image 5','ACTIVE','9168b536-cd40-4630-b43f-b259807c6e87',NULL,'SERVER');
INSERT INTO "memberships" VALUES('11111111111111111111111111111111',7,'2020-01-01T00:00:00Z',-7,'2020-01-01T00:00:00Z','image 7','ACTIVE',NULL,NULL,'BASE');
INSERT INTO "memberships" VALUES('33333333333333333333333333333333',13,'2020-01-01T00:00:00Z',-13,'2020-01-01T00:00:00Z','image 13','ACTIVE',NULL,NULL,'BASE');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE TRIGGER share_new AFTER INSERT ON images WHEN new.visibility = 'shared' AND new.members <> '[]' BEGIN
        INSERT INTO memberships
        SELECT value, new.position, new.created, new.rank, new.updated, new.name, new.status, new.server,
               new.image_type, new.origin
        FROM json_each(new.members) WHERE new.visibility = 'shared' AND value IS NOT new.owner;
    END;
CREATE TRIGGER share_changed AFTER UPDATE ON images WHEN 'shared' IN (old.visibility, new.visibility) BEGIN
        DELETE FROM memberships WHERE position = old.position;
        INSERT INTO memberships
        SELECT value, new.position, new.created, new.rank, new.updated, new.name, new.status, new.server,
               new.image_type, new.origin
        FROM json_each(new.members) WHERE new.visibility = 'shared' AND value IS NOT new.owner;
    END;
CREATE TRIGGER share_no_more AFTER DELETE ON images WHEN old.visibility = 'shared' BEGIN
        DELETE FROM memberships WHERE position = old.position;
    END;
CREATE INDEX images_by_age ON images (audience, created, rank);
CREATE INDEX images_by_status ON images (audience, status, created, rank);
CREATE INDEX images_by_origin ON images (audience, origin, created, rank);
CREATE INDEX images_by_type ON images (audience, image_type, created, rank) WHERE image_type NOT NULL;
CREATE INDEX images_by_name ON images (audience, name, created, rank);
CREATE INDEX images_by_server ON images (audience, server, created, rank) WHERE server IS NOT NULL;
CREATE INDEX images_by_change ON images (audience, updated);
CREATE INDEX memberships_by_age ON memberships (audience, created, rank);
CREATE INDEX memberships_by_status ON memberships (audience, status, created, rank);
CREATE INDEX memberships_by_origin ON memberships (audience, origin, created, rank);
CREATE INDEX memberships_by_type ON memberships (audience, image_type, created, rank) WHERE image_type NOT NULL;
CREATE INDEX memberships_by_name ON memberships (audience, name, created, rank);
CREATE INDEX memberships_by_server ON memberships (audience, server, created, rank) WHERE server IS NOT NULL;
CREATE INDEX memberships_by_change ON memberships (audience, updated);
COMMIT;
