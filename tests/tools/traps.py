"""What an ordinary role can plant where a careless statement would find it: traps that tell.

The names come from our own sources: whatever they call by a name that PostgreSQL knows, and every
operator and type, is planted in `public`, under the same signature and under better-matching ones.
"""

import re
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

ROOT = Path(__file__).resolve().parents[2]


class Traps:
    """Plants in a database as its role `mallory`, and tells what was touched, and by whom."""

    def __init__(self, database_url: str) -> None:
        # Not by the search_path of the database, which leads into the traps.
        self.connection = psycopg.connect(
            database_url, autocommit=True, options="-c search_path=pg_catalog"
        )
        self.connection.execute(SPY)
        self.connection.execute("SET ROLE mallory")
        self.connection.execute("SELECT set_config('traps.words', %s, false)", [",".join(_words())])
        self.connection.execute(PLANT)
        (count,) = self.connection.execute(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchone()
        assert count > 2000, "most of it is there"
        self.connection.execute("RESET ROLE")
        (name,) = self.connection.execute("SELECT current_database()").fetchone()
        self.connection.execute(
            SQL("ALTER DATABASE {} SET search_path = public, pg_catalog").format(Identifier(name))
        )

    def touched(self) -> list[str]:
        """What was touched since this was last asked, even by what was rolled back."""
        (number,) = self.connection.execute("SELECT nextval('public.touches')").fetchone()
        told = self.connection.execute(
            "DELETE FROM public.touched RETURNING what || ' by ' || who"
        ).fetchall()
        self.connection.execute("ALTER SEQUENCE public.touches RESTART")
        return sorted({what for (what,) in told}) or ["something"] * (number - 1)


def _words() -> list[str]:
    """Every word of our SQL and Python."""
    files = [*ROOT.glob("sql/*.sql"), *ROOT.glob("reactive_demo/**/*.sql")]
    files += ROOT.glob("reactive_demo/**/*.py")
    return sorted(
        {
            word
            for file in files
            for word in re.findall(r"\b[a-z_][a-z0-9_]*\b", file.read_text("utf-8"))
        }
    )


SPY = """
    CREATE ROLE mallory;
    GRANT CREATE, USAGE ON SCHEMA public TO mallory;
    CREATE SEQUENCE public.touches;
    CREATE TABLE public.touched (what text, who text);
    GRANT ALL ON public.touched, public.touches TO PUBLIC;
    CREATE FUNCTION public.spy(text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        PERFORM nextval('public.touches'); -- is not rolled back
        IF NOT current_setting('transaction_read_only')::boolean THEN
            INSERT INTO public.touched VALUES ($1, current_user);
        END IF;
        RETURN true;
    END $$;
"""

PLANT = """
    DO $$
    DECLARE
        words text[] := string_to_array(current_setting('traps.words'), ',');
        types text[] := '{text,varchar,name,int2,int4,int8,oid,regclass,xid8,text[],oid[],bool}';
        it record;
        body text := 'LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.spy(%L); %s END $f$';
    BEGIN
        FOR it IN -- functions, as they are
            SELECT p.proname, oidvectortypes(p.proargtypes) AS args, p.proretset,
                   format_type(p.prorettype, -1) AS result
            FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
            AND p.proname = ANY (words)
        UNION ALL -- and as they match better what has one type for all
            SELECT DISTINCT p.proname, rtrim(repeat(t || ', ', n), ', '), p.proretset,
                   CASE WHEN p.prorettype::regtype::text LIKE 'any%' THEN t
                        ELSE format_type(p.prorettype, -1) END
            FROM pg_proc p, unnest(types) t, generate_series(greatest(p.pronargs, 1),
                p.pronargs + CASE WHEN p.provariadic = 0 THEN 0 ELSE 3 END) n
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (words)
        LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s ', it.proname, it.args,
                    CASE WHEN it.proretset THEN 'SETOF' END, it.result) || format(body,
                    format('%s(%s)', it.proname, it.args),
                    CASE WHEN it.proretset OR it.result = 'void' THEN 'RETURN;'
                         ELSE 'RETURN NULL;' END);
            EXCEPTION WHEN OTHERS THEN -- there is one, or it takes what PL/pgSQL cannot
            END;
        END LOOP;
        FOR it IN
            SELECT o.oprname, format_type(o.oprleft, -1) AS l, format_type(o.oprright, -1) AS r,
                   format_type(o.oprresult, -1) AS result
            FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b'
        UNION ALL
            SELECT o, l, r, CASE WHEN o IN ('||', '->>', '->') THEN 'text'
                                 WHEN o IN ('+', '-', '*', '/', '<<', '|') THEN 'int8'
                                 ELSE 'bool' END
            FROM unnest(string_to_array('= <> < > <= >= || + - * / ->> -> ~ !~ ~~ << |', ' ')) o,
                 unnest(types) l, unnest(types) r
        LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS %s ',
                    'op ' || it.oprname, it.l, it.r, it.result) || format(body,
                    format('%s %s %s', it.l, it.oprname, it.r), 'RETURN NULL;');
                EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, '
                    'FUNCTION = public.%I)', it.oprname, it.l, it.r, 'op ' || it.oprname);
            EXCEPTION WHEN OTHERS THEN
            END;
        END LOOP;
        FOR it IN SELECT c.relname, (
                SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid <> 'anyarray'::regtype
            ) AS columns FROM pg_class c
            WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')
              AND c.relname = ANY (words)
        LOOP
            EXECUTE format('CREATE VIEW public.%I AS SELECT %s FROM pg_catalog.%I '
                'WHERE public.spy(%L)', it.relname, it.columns, it.relname, it.relname);
            EXECUTE format('GRANT SELECT ON public.%I TO PUBLIC', it.relname);
        END LOOP;
        FOR it IN SELECT t.typname FROM pg_type t
            WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b'
              AND t.typname = ANY (words)
        LOOP
            BEGIN
                EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (public.spy(%L))',
                    it.typname, it.typname, 'type ' || it.typname);
            EXCEPTION WHEN OTHERS THEN -- a view's
            END;
        END LOOP;
    END $$
"""
