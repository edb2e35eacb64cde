-- The article's trigger: announce each change of a profile, with the whole row as JSON.
--
--     LISTEN profile_change;
--
-- The message goes out when the transaction commits, and only then. Its payload has three fields:
-- `operation` (INSERT, UPDATE or DELETE), `changed_at` (seconds since 1970) and `row` (the new row;
-- for a DELETE, the old one). JSON functions build it, because they quote whatever a name contains.

CREATE OR REPLACE FUNCTION reactive.notify_profile() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('profile_change', json_build_object(
        'operation', TG_OP,
        'changed_at', round(extract(epoch FROM clock_timestamp()), 6),
        'row', CASE TG_OP WHEN 'DELETE' THEN to_json(OLD) ELSE to_json(NEW) END
    )::text);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER notify_profile
AFTER INSERT OR UPDATE OR DELETE ON public.profile
FOR EACH ROW EXECUTE FUNCTION reactive.notify_profile();
