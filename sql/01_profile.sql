-- The profile table: the one place where the truth is kept.
--
-- A small Twitter-like profile with three counters. It is a plain table: nothing in it
-- knows about a cache. Everything that this package adds lives in the schema `reactive`.

CREATE TABLE IF NOT EXISTS public.profile (
    username         text   PRIMARY KEY,
    followings_count bigint NOT NULL DEFAULT 0,
    followers_count  bigint NOT NULL DEFAULT 0,
    likes_count      bigint NOT NULL DEFAULT 0
);

CREATE SCHEMA IF NOT EXISTS reactive;
