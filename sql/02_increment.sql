-- Add one to a counter of a profile; the first increment creates the profile.
--
--     SELECT reactive.increment('ada', 'likes');
--
-- Returns the version of the change, to pass to `Cache.wait_for`; NULL unless the table is captured
-- (sql/05_capture.sql), since only then do changes have versions.
--
-- One INSERT ... ON CONFLICT does both, and stays correct when several clients are first at once:
-- an UPDATE that finds no row, followed by an INSERT, would lose all of their increments but one.

CREATE OR REPLACE FUNCTION reactive.increment(who text, counter text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(counter, '') NOT IN ('followings', 'followers', 'likes') THEN
        RAISE EXCEPTION 'there is no counter %', coalesce(quote_literal(counter), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The counters are followings, followers and likes.';
    END IF;

    INSERT INTO public.profile AS p (username, followings_count, followers_count, likes_count)
    VALUES (who, (counter = 'followings')::int, (counter = 'followers')::int, (counter = 'likes')::int)
    ON CONFLICT (username) DO UPDATE
    SET followings_count = p.followings_count + excluded.followings_count,
        followers_count  = p.followers_count  + excluded.followers_count,
        likes_count      = p.likes_count      + excluded.likes_count;

    IF to_regprocedure('reactive.version_made(text, text)') IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN reactive.version_made('public.profile', who);
END
$$;
