-- For write-behind: count the messages of a stream, each of them once.
--
--     SELECT reactive.store('likes', '{1-0,2-0}', '{ada,ada}', '{likes,likes}');
--
-- A consumer that dies after its write and before its acknowledgement leaves messages that come
-- again. So their ids are stored with the counts, in one transaction: an id that is there already is not
-- counted. It returns how many were new.
--
-- Ids are kept for a week: longer than a consumer is away that has stored, and not acknowledged.

CREATE SCHEMA IF NOT EXISTS reactive;

CREATE TABLE IF NOT EXISTS reactive.stored (
    stream    text        NOT NULL,
    id        text        NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, id)
);

CREATE INDEX IF NOT EXISTS stored_at ON reactive.stored (stored_at);

CREATE OR REPLACE FUNCTION reactive.store(stream text, ids text[], names text[], counters text[])
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM reactive.stored WHERE stored_at < now() - interval '7 days';

    WITH new AS (
        INSERT INTO reactive.stored (stream, id)
        SELECT store.stream, id FROM unnest(ids) id ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING id
    ), counted AS (
        INSERT INTO public.profile AS p (username, followings_count, followers_count, likes_count)
        SELECT name,
               count(*) FILTER (WHERE counter = 'followings'),
               count(*) FILTER (WHERE counter = 'followers'),
               count(*) FILTER (WHERE counter = 'likes')
        FROM unnest(ids, names, counters) AS message (id, name, counter) JOIN new USING (id)
        GROUP BY name ORDER BY name
        ON CONFLICT (username) DO UPDATE
        SET followings_count = p.followings_count + excluded.followings_count,
            followers_count  = p.followers_count  + excluded.followers_count,
            likes_count      = p.likes_count      + excluded.likes_count
    )
    SELECT count(*) FROM new;
END;
