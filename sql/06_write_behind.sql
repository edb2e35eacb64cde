-- For write-behind: count each message of a stream exactly once.
--
--     SELECT reactive.store('likes', '{1-0,2-0}', '{ada,ada}', '{likes,likes}');
--
-- If a consumer dies between storing messages and acknowledging them, they are delivered again. So
-- their ids are stored in the same transaction as the counts, and an id that is already there is not
-- counted. Returns the number of new messages.
--
-- Ids are kept for a week, far longer than any message should stay unacknowledged.

CREATE SCHEMA IF NOT EXISTS reactive;

CREATE TABLE IF NOT EXISTS reactive.stored (
    stream    text        NOT NULL,
    id        text        NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (stream, id)
);

CREATE INDEX IF NOT EXISTS stored_at ON reactive.stored (stored_at);

CREATE OR REPLACE FUNCTION reactive.store(stream text, ids text[], names text[], counters text[])
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;
